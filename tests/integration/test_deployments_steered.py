"""A deployment follows its load: reports lead to a decision, replicas to it, and people are told why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.language.deployments.canary import CanaryVerdict
from events.language.deployments.enums import RollbackCause
from events.language.deployments.events import ReplicaReady, RolloutRolledBack, RolloutStepped
from events.language.deployments.steering import CanaryJudged, ScalingDecided
from events.language.deployments.traffic import LatencySketch
from forgelog import AsyncClient
from services.deployments.canary.judging import judge
from services.deployments.scaling.deciding import decide
from tests import PATIENCE
from tests.integration.cluster import Cluster

pytestmark = pytest.mark.slow

WAITS = ("-c", """
import os, socket
server = socket.create_server((os.environ["FORGELOG_ADDRESS"], int(os.environ["FORGELOG_PORT_HTTP"])))
while True:
    server.accept()[0].close()
""")  # fmt: skip


def spec(**more: Any) -> dict[str, Any]:
    resources = {"cpus": 0.1, "memory_bytes": 64 << 20}
    return {"command": sys.executable, "args": list(WAITS), "resources": resources, "drain_seconds": 0, **more}


class Router:
    """Reports what a router would have counted."""

    def __init__(self, platform: Cluster, id: str) -> None:
        self._platform, self._id = platform, id
        self.counts: dict[int, tuple[int, int]] = {}

    async def report(self, seconds: float, **of: tuple[int, int]) -> None:
        """At a second of its clock, so many requests and failures more; by revision, such as ``r1=(10, 0)``."""
        revisions = []
        for name, (requests, failures) in of.items():
            number = int(name[1:])
            before = self.counts.get(number, (0, 0))
            self.counts[number] = before[0] + requests, before[1] + failures
        for number, (requests, failures) in self.counts.items():
            latency = LatencySketch.of({115: requests - failures}, 0).model_dump(mode="json")
            revisions.append({"revision": number, "requests": requests, "failures": failures, "latency": latency})
        counts = {"incarnation": "a", "seconds": seconds, "revisions": revisions}
        body = {"deployment_id": self._id, "router": "r1", "counts": counts}
        await self._platform.publish("deployments", "ReportTraffic", body, key=self._id)


async def test_replicas_follow_the_load_and_why_says_so(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    id = await client.deployments.create("followed", spec())
    await client.deployments.wait("followed", timeout=PATIENCE)
    said = await platform.command(tmp_path, "autoscale", "followed", "--scale", "rps=50", "--max", "2")
    assert said.returncode == 0, said.stderr
    assert "the number of followed's replicas follows the load" in said.stdout + said.stderr
    router = Router(platform, id)
    await router.report(0, r1=(0, 0))
    await router.report(10, r1=(1000, 0))
    decided = await platform.event(ScalingDecided, lambda e: e.deployment_id == id)
    assert (decided.decision.inputs.replicas, decided.decision.replicas) == (1, 2)
    assert decide(decided.decision.inputs) == decided.decision
    await platform.event(ReplicaReady, lambda e: e.deployment_id == id and e.replica == 2)
    async for row in client.deployments.watch(["followed"]):
        if (row.wanted, row.ready) == (2, 2):
            break
    shown = await platform.command(tmp_path, "why", "followed")
    assert shown.returncode == 0, shown.stderr
    assert "1 → 2 replicas: 100 requests/s need 2 at 50 a replica" in shown.stdout
    found = orjson.loads((await platform.command(tmp_path, "why", "followed", "--output", "json")).stdout)
    assert found["scaling"]["inputs"]["loads"][0]["stable"] == 100
    refused = await platform.command(tmp_path, "deployments", "scale", "followed", "1")
    assert refused.returncode != 0
    assert "as many replicas as its scaling policy decides" in refused.stderr
    assert (await platform.command(tmp_path, "why", "nothing-of-that-name")).returncode != 0
    await client.deployments.terminate("followed")


async def test_a_canary_that_fails_is_rolled_back(platform: Cluster, client: AsyncClient) -> None:
    rollout = {"strategy": "canary", "canary": {"interval_seconds": 3, "min_requests": 60}}
    id = await client.deployments.create("judged", spec(rollout=rollout))
    await client.deployments.wait("judged", timeout=PATIENCE)
    await client.deployments.update("judged", spec(rollout=rollout, args=[*WAITS, "new"]))
    await platform.event(RolloutStepped, lambda e: e.deployment_id == id)
    await client.deployments.wait("judged", timeout=PATIENCE)
    router, seconds = Router(platform, id), 0.0

    def looked() -> list[CanaryJudged]:
        return platform.all(CanaryJudged, lambda e: e.deployment_id == id)

    await router.report(seconds, r1=(0, 0), r2=(0, 0))
    while not looked():
        seconds += 1
        await router.report(seconds, r1=(90, 0), r2=(30, 15))
    judged = looked()[-1]
    assert judge(judged.judgement.evidence) == judged.judgement
    assert judged.judgement.verdict is CanaryVerdict.ROLL_BACK
    rolled_back = await platform.event(RolloutRolledBack, lambda e: e.deployment_id == id)
    assert (rolled_back.cause, rolled_back.to_revision) == (RollbackCause.CANARY, 1)
    async for row in client.deployments.watch(["judged"]):
        if row.status == "running" and not row.rollout_revision:
            break
    why = await client.deployments.why("judged")
    assert why.rollout_reason.startswith(
        "revision 2 was rolled back (canary): revision 2 at 10 %, look 1 of 3: failures +"
    )
    await client.deployments.terminate("judged")
