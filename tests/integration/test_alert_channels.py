"""An alert of a real deployment, and the end of a real run, are told on their channels, once; the list says so."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

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
    async with asyncio.timeout(PATIENCE):
        while len(await client.notices.list("alarmed", of="deployments", state=["delivered"])) < 2:
            await asyncio.sleep(0.1)
    told = await client.notices.list("alarmed", of="deployments")
    assert {(each.type, each.channel, each.state) for each in told} == {
        ("alert.fired", "log", "delivered"),
        ("alert.fired", "pager", "waiting"),
        ("alert.resolved", "log", "delivered"),
        ("alert.resolved", "pager", "waiting"),
    }
    failed = await client.notices.list(of="deployments", state=["waiting"], channel="pager")
    assert failed[-1].summary == next(each.summary for each in told if each.type == "alert.fired")
    assert failed[-1].tries >= 1
    assert failed[-1].error == (
        "127.0.0.1 is a private address; set FORGELOG_WEBHOOK_PRIVATE=true to let notices go to such"
    )
    before = told[-1].happened_at - timedelta(seconds=1)
    assert await client.notices.list("alarmed", of="deployments", at=before) == []
    since = await client.notices.list("alarmed", of="deployments", at=told[-1].happened_at)
    assert [each.type for each in since] == ["alert.fired", "alert.fired"], "the end came later"
    await client.deployments.terminate("alarmed")


async def test_the_end_of_a_run_is_told_and_what_became_of_that_can_be_asked(
    platform: Cluster, client: AsyncClient
) -> None:
    nothing = {"type": "custom", "custom": {"sql": "select 1 as one"}}
    stage = {"id": "never", "condition": "false", "transformations": [nothing]}
    channel = {"name": "log", "kind": "log", "when": ["run_completed"]}
    await client.pipelines.define("quiet", {"stages": [stage], "notifications": [channel]})
    await client.pipeline_runs.start("quiet")
    await until_logged(platform, "local/default/quiet: run 1 is completed (info)", "pipelines")
    async with asyncio.timeout(PATIENCE):
        while not (told := await client.notices.list("quiet", state=["delivered"])):
            await asyncio.sleep(0.1)
    assert [(each.type, each.aggregate, each.channel, each.tries) for each in told] == [
        ("run.completed", "pipeline", "log", 1)
    ]


async def until_logged(platform: Cluster, text: str, context: str = "deployments") -> None:
    async with asyncio.timeout(PATIENCE):
        while text not in platform.log(context):
            await asyncio.sleep(0.1)
