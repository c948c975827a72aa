"""What a long history costs: the same platform measured without one, and with so many finished jobs in its log.

FORGELOG_BENCH_JOBS says how many (1,000,000 by default, which takes some twenty minutes and 20 GB of disk).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console

from bench import flow, gateway, past
from bench.report import Figure
from bench.servers import resident, tree
from events.hosting import open_pool
from events.language.contexts import contexts
from events.language.jobs import SubmitJob
from events.language.jobs.spec import JobMetadata, JobResources, JobSpec
from events.log import topics
from events.log.publish import Outgoing, Publisher
from events.log.tail import Tail
from events.process.settings import Settings
from events.projections.rebuild import projection_of, rebuild
from forgelog_pb.jobs.v1 import queries_pb2 as jobs_pb
from forgelog_pb.query.v1 import options_pb2
from tests.integration.cluster import SERVICES, Cluster

SINGLES = 500
WAITING = 10_000
PATIENCE = 1_200.0
"""Seconds that a service may take to fold the whole history."""

NAMES = {
    "query": ("point query (GetJob) at the service", "requests/s", True),
    "list": (f"list of {WAITING:,} queued jobs", "ms", False),
    "start": ("submit → process started, p50", "ms", False),
    "rate": (f"real-process jobs/s, {SINGLES} single submits", "jobs/s", True),
    "again": ("jobs service, killed: ready again", "s", False),
    "memory": ("services, resident (PSS)", "MiB", False),
}


def say(text: str) -> None:
    """Progress, for people who wait."""
    Console(stderr=True).print(f"    {text}", highlight=False, soft_wrap=True)


@dataclass
class Found:
    """Measured with or without a history."""

    runs: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NAMES})
    memory: dict[str, float] = field(default_factory=dict)
    """MiB of each service, started from its snapshots."""
    first: dict[str, float] = field(default_factory=dict)
    """And before, when it had folded the history from its beginning."""


async def _healthy(platform: Cluster, name: str) -> None:
    """Wait until a service serves, however long its log is."""
    async with asyncio.timeout(PATIENCE), grpc.aio.insecure_channel(platform.address(name)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            with suppress(grpc.aio.AioRpcError):
                answer = await stub.Check(health_pb2.HealthCheckRequest())
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            if platform._processes[name].poll() is not None:
                raise RuntimeError(f"{name} ended: {platform.log(name)}")
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _platform(settings: Settings) -> AsyncIterator[Cluster]:
    """Services and an agent. Unlike `tests.integration.cluster.cluster`, nobody keeps every event in memory."""
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    await topics.ensure_topics(settings)
    platform = Cluster(settings, folder, lost_seconds=60.0)
    try:
        for name in SERVICES:
            platform.start(name)
        for name in SERVICES:
            await _healthy(platform, name)
        platform.start_agent("n0")
        yield platform
    finally:
        await asyncio.to_thread(platform.stop)
        await platform.close()
        shutil.rmtree(folder, ignore_errors=True)


async def _one_job(settings: Settings) -> list[Any]:
    """A job's whole life, as recorded."""
    seen: list[Any] = []
    ends = {"JobCompleted", "AllocationReleased"}
    async with _platform(settings), Publisher(settings) as publisher, Tail(settings, SERVICES) as tail:
        _, outgoing = flow._outgoing(flow._submit("true"))
        await publisher.publish_many([outgoing])
        async with asyncio.timeout(120):
            while not ends <= {type(record.data).__name__ for record in seen}:
                seen += await tail.poll(1.0)
    return seen


async def _fill(settings: Settings, platform: Cluster) -> bytes:
    """`WAITING` jobs that no node can take; the request that lists them."""
    spec = JobSpec(metadata=JobMetadata(name="waits"), command="true", resources=JobResources(cpus=4096.0))
    commands = [Outgoing(SubmitJob(job_id=f"w{number}", spec=spec), f"fill-{number}") for number in range(WAITING)]
    async with Publisher(settings) as publisher:
        await publisher.publish_many(commands)
    page = options_pb2.PageRequest(limit=WAITING)
    queued = jobs_pb.ListJobsRequest(page=page, queue="default", statuses=["JOB_STATUS_QUEUED"]).SerializeToString()
    async with asyncio.timeout(180):
        while True:
            answer = await gateway._answer(platform.address("jobs"), gateway.LIST_JOBS, queued)
            if len(jobs_pb.ListJobsResponse.FromString(answer).jobs) == WAITING:
                return queued
            await asyncio.sleep(0.5)


async def _measure(settings: Settings, runs: int, known: str) -> Found:
    """All figures, on a platform that is started here. `known` is a job to ask for; empty: one of the queued."""
    found = Found()
    async with _platform(settings) as platform:
        async with Publisher(settings) as publisher, Tail(settings, ["jobs"], start="end") as tail:
            watch = flow.Watch(tail)
            watching = asyncio.create_task(watch.run())
            try:
                # The first job waits until a service that starts without a snapshot has read the others' whole history.
                await flow.latency(publisher, watch, PATIENCE)
                for _ in range(runs):
                    found.runs["start"].append(statistics.median(await flow.latency(publisher, watch)))
                    found.runs["rate"].append(await _rate(publisher, watch))
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        queued = await _fill(settings, platform)
        one = jobs_pb.GetJobRequest(job_id=known or "w7").SerializeToString()
        jobs = platform.address("jobs")
        for _ in range(runs):
            found.runs["query"].append(await gateway._rate(jobs, gateway.GET_JOB, one))
            found.runs["list"].append(await gateway._milliseconds(jobs, gateway.LIST_JOBS, queued))
        await _snapshots(settings)
        # From snapshots, as after any restart: the first start folded the history from its beginning.
        for name in SERVICES:
            found.first[name] = resident(tree(psutil.Process(platform._processes[name].pid)))
            platform.kill(name)
            platform.start(name)
            await _healthy(platform, name)
        say("services, MiB after folding it all: " + ", ".join(f"{n} {mib:.0f}" for n, mib in found.first.items()))
        await asyncio.sleep(5.0)
        for name in SERVICES:
            found.memory[name] = resident(tree(psutil.Process(platform._processes[name].pid)))
        found.runs["memory"].append(sum(found.memory.values()))
        for _ in range(runs):
            platform.kill("jobs")
            began = time.perf_counter()
            platform.start("jobs")
            await _healthy(platform, "jobs")
            found.runs["again"].append(time.perf_counter() - began)
    return found


async def _rate(publisher: Publisher, watch: flow.Watch) -> float:
    jobs = dict(flow._outgoing(flow._submit("true")) for _ in range(SINGLES))
    began = time.perf_counter()
    await publisher.publish_many(list(jobs.values()))
    await watch.until_completed(set(jobs), 300)
    return SINGLES / (time.perf_counter() - began)


async def _snapshots(settings: Settings, seconds: float = 60.0) -> None:
    """Wait until every writer that owes a snapshot has stored it: their number no longer grows."""
    db = await asyncpg.connect(settings.postgres_required)
    try:
        before, since = -1, time.monotonic()
        while time.monotonic() - since < seconds:
            with suppress(asyncpg.UndefinedTableError):
                now = await db.fetchval(f'select count(*) from "{settings.schema_}_log".snapshots')
                if now == before:
                    break
                before = now
            await asyncio.sleep(5.0)
        with suppress(asyncpg.UndefinedTableError):
            sizes = await db.fetch(
                f"select context, count(*) as count, sum(length(data)) as bytes "
                f'from "{settings.schema_}_log".snapshots group by context order by context'
            )
            say("snapshots: " + ", ".join(f"{r['context']} {r['count']}, {r['bytes'] / 1e6:.1f} MB" for r in sizes))
    finally:
        await db.close()


async def _timed(what: str, work: Awaitable[Any]) -> Any:
    say(f"{what} ...")
    began = time.perf_counter()
    result = await work
    say(f"{what}: {time.perf_counter() - began:.1f} s")
    return result


def _projections() -> dict[str, Any]:
    return {context: projection_of(context) for context in contexts()}


async def figures(settings: Settings, runs: int) -> list[Figure]:
    """Every figure with the history; its raw limit is the same without one, measured in this run."""
    count = int(os.environ.get("FORGELOG_BENCH_JOBS", "1000000"))

    def own(name: str) -> Settings:
        return settings.model_copy(
            update={"prefix": f"{settings.prefix}{name}.", "schema_": f"{settings.schema_}_{name}"}
        )

    found = past.template(await _timed("one job, to write more like it", _one_job(own("one"))))
    without = await _timed("without a history", _measure(own("none"), runs, ""))
    long = own("long")
    records, seconds = await past.write(long, found, count, say)
    say(f"{records:,} records written in {seconds:.0f} s, {records / seconds:,.0f} events/s")
    pool = await open_pool(long)
    try:
        for name, projection in _projections().items():
            await _timed(f"tables of {name}", rebuild(long, projection))
    finally:
        await pool.close()
    with_ = await _timed(f"with {count:,} finished jobs", _measure(long, runs, "past00000007"))
    return [
        Figure(
            f"with {count:,} finished jobs: {what}",
            unit,
            with_.runs[name],
            without.runs[name],
            "without",
            higher_is_better=better,
            parts=_growth(without, with_, count) if name == "memory" else {},
        )
        for name, (what, unit, better) in NAMES.items()
    ]


def _growth(without: Found, with_: Found, count: int) -> dict[str, float]:
    """MiB of each service for 100,000 finished jobs."""
    return {name: (with_.memory[name] - without.memory[name]) * 100_000 / count for name in with_.memory}
