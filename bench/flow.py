"""The whole platform: from a submit to a running process, jobs per second, memory; beside a bare asyncio spawn.

Runs services and one node agent as processes, publishes commands to Kafka and reads the events back, as a user's
program in any language would.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.report import Figure
from bench.servers import resident, tree
from events.language.base import Command
from events.language.jobs import JobCompleted, JobStarted, SubmitJob
from events.language.jobs.spec import JobArray, JobMetadata, JobResources, JobSpec
from events.language.resources import NodeRegistered
from events.log.ids import derived_id, new_command_id
from events.log.publish import Outgoing, Publisher
from events.log.tail import Tail
from events.process.settings import Settings
from tests.integration.cluster import Cluster, cluster

SINGLES = 100
"""Submits one after the other, for the latency."""

BURST = 5_000
"""Single jobs submitted at once, and tasks of the array, for jobs/s: enough that what is queued, projected and put away
on the way is paid for in the time measured."""

SPAWNS = 500
"""Bare spawns for the raw limit."""

SMALL = JobResources(cpus=0.01, memory_bytes=1 << 20)


_WATCHED = frozenset(kind.type_name() for kind in (JobStarted, JobCompleted))


class Watch:
    """Events as they come, by job."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self.started: dict[str, tuple[datetime, float]] = {}
        """Job → when the agent says its first process started, and when this process read so."""
        self.completed: set[str] = set()
        self._news = asyncio.Condition()

    async def run(self) -> None:
        while True:
            found = await self._tail.poll_raw(1.0)
            now = time.time()
            for raw in found:
                if raw.type not in _WATCHED:
                    continue
                event = raw.decode().data
                if isinstance(event, JobStarted):
                    self.started.setdefault(event.job_id, (event.tasks[0].started_at, now))
                elif isinstance(event, JobCompleted):
                    self.completed.add(event.job_id)
            if found:
                async with self._news:
                    self._news.notify_all()

    async def until_completed(self, jobs: set[str], seconds: float) -> None:
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.completed) >= len(jobs) and jobs <= self.completed)


def _submit(command: str, *args: str, size: int | None = None) -> SubmitJob:
    array = JobArray(size=size) if size else None
    metadata = JobMetadata(name="bench")
    return SubmitJob(spec=JobSpec(metadata=metadata, command=command, args=args, resources=SMALL, array=array))


def _outgoing(command: Command) -> tuple[str, Outgoing]:
    id = new_command_id()
    return derived_id("j", id), Outgoing(command, id)


async def latency(publisher: Publisher, watch: Watch, seconds: float = 30) -> list[float]:
    """Milliseconds from before the publish to the moment the agent says the process started, each job alone."""
    taken = []
    for _ in range(SINGLES):
        job, outgoing = _outgoing(_submit("true"))
        began = time.time()
        await publisher.publish_many([outgoing])
        await watch.until_completed({job}, seconds)
        started = watch.started[job][0]
        taken.append((started - datetime.fromtimestamp(began, UTC)).total_seconds() * 1000)
    return taken


async def rate(publisher: Publisher, watch: Watch, *, array: bool) -> float:
    """Real processes a second, from the publish to the last end."""
    if array:
        jobs = dict([_outgoing(_submit("true", size=BURST))])
    else:
        jobs = dict(_outgoing(_submit("true")) for _ in range(BURST))
    began = time.perf_counter()
    await publisher.publish_many(list(jobs.values()))
    await watch.until_completed(set(jobs), 120)
    return BURST / (time.perf_counter() - began)


async def bare() -> tuple[float, float]:
    """Processes a second, and milliseconds of one start, of bare asyncio; see `bench.spawn`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.spawn", str(SPAWNS), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    rate, start = told.split()
    return float(rate), float(start)


@asynccontextmanager
async def _platform(settings: Settings) -> AsyncIterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    try:
        async with cluster(settings, folder) as platform:
            await platform.event(NodeRegistered)
            platform.watch_no_more()
            yield platform
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def figures(settings: Settings, runs: int) -> list[Figure]:
    """Latency, rates and memory, `runs` times each on one platform."""
    p50: list[float] = []
    p99: list[float] = []
    starts: list[float] = []
    singles: list[float] = []
    arrays: list[float] = []
    spawns: list[float] = []
    async with (
        _platform(settings) as platform,
        Publisher(settings) as publisher,
        Tail(settings, ["jobs"], start="end") as tail,
    ):
        watch = Watch(tail)
        watching = asyncio.create_task(watch.run())
        try:
            await latency(publisher, watch)  # warms everything up
            for _ in range(runs):
                taken = await latency(publisher, watch)
                p50.append(statistics.median(taken))
                p99.append(statistics.quantiles(taken, n=100)[98])
                singles.append(await rate(publisher, watch, array=False))
                arrays.append(await rate(publisher, watch, array=True))
                spawned, start = await bare()
                spawns.append(spawned)
                starts.append(start)
            memory = [resident([one for each in platform.processes() for one in tree(each)])]
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return [
        Figure("submit → process started, p50", "ms", p50, starts, "bare spawn", 10, higher_is_better=False),
        Figure("submit → process started, p99", "ms", p99, starts, "bare spawn", 40, higher_is_better=False),
        Figure(f"real-process jobs/s, {BURST} single submits", "jobs/s", singles, spawns, "bare spawns", 500),
        Figure(f"real-process jobs/s, one array of {BURST}", "jobs/s", arrays, spawns, "bare spawns", 500),
        Figure("services and agent, resident (PSS)", "MiB", memory, target=1024, higher_is_better=False),
    ]
