"""What a router tells the platform of its traffic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from events.language.deployments.steering import ReportTraffic
from events.language.deployments.traffic import TrafficCounts
from events.process.settings import Settings
from services.deployments.router.access_log import AccessLog
from services.deployments.router.listeners import LOG_FILE
from services.deployments.router.reporting import Reporter
from tests.integration.router.rig import Rig, revision, until, upstreams


@asynccontextmanager
async def reporting(router: Rig) -> AsyncIterator[Reporter]:
    """Counts what the router does from now on."""
    reporter = Reporter(Settings.load(), router.companion, router.envoy, router.config.name)
    log = AccessLog(router.config.folder / LOG_FILE, lambda: router.envoy.post("/reopen_logs"))
    task = asyncio.create_task(log.follow(reporter.take))
    await asyncio.sleep(0)  # it has opened the file
    yield reporter
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def counts(reporter: Reporter, deployment: str) -> TrafficCounts | None:
    """The last report of a deployment, if there is something to report."""
    found = [one for one in await reporter.reports() if isinstance(one, ReportTraffic)]
    return next((one.counts for one in found if one.deployment_id == deployment), None)


async def test_requests_are_counted_by_revision_and_those_of_leaving_replicas_are_seen_to_their_end(
    router: Rig,
) -> None:
    async with upstreams("old", "new") as (old, new), reporting(router) as reporter, router.client() as client:
        table = router.table(revision(1, 10_000, old), concurrency=1, retries={"attempts": 0})
        deployment, path = table["deployment_id"], f"/serve/local/default/{table['name']}/"
        first = await router.put(table)
        for _ in range(3):
            await client.get(path)
        old.gate = asyncio.Event()
        open_ = asyncio.create_task(client.get(path))
        await until(lambda: old.in_flight == 1)
        assert (await client.get(path)).status_code == 503
        found: list[TrafficCounts] = []

        async def counted(requests: int) -> bool:
            if (now := await counts(reporter, deployment)) is not None:
                found.append(now)
            return bool(found) and sum(one.requests for one in found[-1].revisions) == requests

        await until(lambda: counted(3))
        (one,) = found[-1].revisions
        assert (one.revision, one.failures, one.in_flight, one.latency.count) == (1, 0, 1, 3)
        assert (found[-1].routing, found[-1].held, found[-1].leaving) == (first.number, 0, ())

        second = await router.put({**table, "revisions": [revision(1, 10_000, new)]})
        await counted(3)
        assert found[-1].routing == second.number
        assert [(one.replica_id, one.in_flight) for one in found[-1].leaving] == [(f"r1-{old.port}", 1)]
        old.gate.set()
        await open_
        await until(lambda: counted(4))
        await until(lambda: deployment not in router.companion.tables.leaving)
        await counted(4)
        assert found[-1].leaving == ()
        assert found[-1].revisions[0].shed == 1
