"""An alert of a real deployment is told on its channels, once."""

from __future__ import annotations

import asyncio
import sys

from forgelog import AsyncClient
from tests import PATIENCE
from tests.integration.cluster import Cluster

ALERT = {"name": "always", "type": "availability", "comparison": "at_most", "threshold": 100, "window_seconds": 5}
FIRES = "local/default/alarmed: alert always fires (warning)"
OVER = "local/default/alarmed: alert always is over (warning): alert always is over: it is no longer set"


async def test_an_alert_is_told_when_it_fires_and_when_it_is_over(platform: Cluster, client: AsyncClient) -> None:
    spec = {"command": sys.executable, "replicas": 0}
    channels = [{"name": "log", "kind": "log"}, {"name": "pager", "kind": "webhook", "target": "http://127.0.0.1:9/"}]
    await client.deployments.create("alarmed", {**spec, "alerts": {"alerts": [ALERT], "channels": channels}})
    await until_logged(platform, FIRES)
    await until_logged(platform, "could not be told on channel pager: 127.0.0.1 is a private address")
    await client.deployments.set_alerts("alarmed", [], channels=channels)
    await until_logged(platform, OVER)
    assert platform.log("deployments").count(FIRES) == 1
    await client.deployments.terminate("alarmed")


async def until_logged(platform: Cluster, text: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while text not in platform.log("deployments"):
            await asyncio.sleep(0.1)
