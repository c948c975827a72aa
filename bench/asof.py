"""Lists as of a time, beside the same lists of now, on a log of finished jobs with a thousand live jobs at any time.

FORGELOG_BENCH_JOBS says how many jobs (100,000 by default: a million events, about two minutes).
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
from rich.console import Console

from bench import past
from bench.report import Figure
from events.language.jobs import JobCompleted
from events.language.resources import AllocationBound, NodeRegistered
from events.process.settings import Settings
from events.projections.positions import live_schema
from events.projections.rebuild import projection_of, rebuild
from events.projections.replaying import connected
from events.projections.runner import Runner
from events.projections.tables import quoted
from events.queries.queries import ReadModel
from events.service import open_pool
from forgelog_pb.jobs.v1 import queries_pb2 as jobs_pb
from forgelog_pb.resources.v1 import queries_pb2 as resources_pb
from forgelog_pb.scheduling.v1 import queries_pb2 as scheduling_pb
from services.jobs.queries import JobQueriesServicer
from services.resources.queries import ResourceQueriesServicer
from services.scheduling.queries import SchedulingQueriesServicer
from tests.golden import folding
from tests.golden.history import recorded

ALIVE = 1_000
PAGE = 100
MOMENTS = (1, 50, 99)
"""Per cent of the log that is before the moment."""
BUDGET = 100.0
"""Milliseconds."""


def say(text: str) -> None:
    """Progress, for people who wait."""
    Console(stderr=True).print(f"    {text}", highlight=False, soft_wrap=True)


def _template() -> dict[str, dict[str, Any]]:
    """A job as a platform once recorded it, with the node that it ran on."""
    history = recorded()[0]
    seen = [raw.decode() for name in past.CONTEXTS for raw in folding.valid(history, name, markers=False)]
    job = next(each.meta.subject for each in seen if isinstance(each.data, JobCompleted))
    own: list[Any] = [each for each in seen if getattr(each.data, "job_id", "") == job]
    nodes = {each.data.node_id for each in own if isinstance(each.data, AllocationBound)}
    registered = [each for each in seen if isinstance(each.data, NodeRegistered) and each.data.node_id in nodes]
    return past.template([*registered, *own])


def _at(message: Any, moment: datetime | None) -> Any:
    if moment is not None:
        message.options.as_of.FromDatetime(moment)
    return message


def _lists(models: dict[str, ReadModel]) -> dict[str, Callable[[datetime | None], Awaitable[Any]]]:
    """What is asked for, by name: a function of the moment (None: now)."""
    jobs = JobQueriesServicer(models["jobs"], None)  # type: ignore[arg-type] # follows no output
    resources = ResourceQueriesServicer(models["resources"])
    scheduling = SchedulingQueriesServicer(models["scheduling"])
    page = {"limit": PAGE}
    answered = grpc.aio.ServicerContext

    def list_jobs(**filters: Any) -> Callable[[datetime | None], Awaitable[Any]]:
        return lambda at: jobs.ListJobs(_at(jobs_pb.ListJobsRequest(page=page, **filters), at), answered)

    return {
        "jobs": list_jobs(),
        "jobs of one status": list_jobs(statuses=["JOB_STATUS_SCHEDULED"]),
        "jobs of one queue and two statuses": list_jobs(
            queue="default", statuses=["JOB_STATUS_SCHEDULED", "JOB_STATUS_QUEUED"]
        ),
        "nodes": lambda at: resources.ListNodes(_at(resources_pb.ListNodesRequest(page=page), at), answered),
        "allocations": lambda at: resources.ListAllocations(
            _at(resources_pb.ListAllocationsRequest(page=page), at), answered
        ),
        "placements": lambda at: scheduling.ListPlacements(
            _at(scheduling_pb.ListPlacementsRequest(page=page), at), answered
        ),
        "queues": lambda at: scheduling.ListQueues(_at(scheduling_pb.ListQueuesRequest(), at), answered),
    }


async def _moments(settings: Settings) -> dict[int, datetime]:
    """By per cent of the log."""
    async with connected(settings) as db:
        times: list[datetime] = await db.fetchval(
            "select percentile_disc($1::float8[]) within group (order by time) "
            f"from {quoted(live_schema(settings, 'jobs'))}.history",
            [share / 100 for share in MOMENTS],
        )
    return dict(zip(MOMENTS, (each.astimezone(UTC) for each in times), strict=True))


async def _timed(asked: Callable[[], Awaitable[Any]], runs: int) -> list[float]:
    """Milliseconds, of each run; the first one, which plans, is not among them."""
    await asked()
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        await asked()
        found.append((time.perf_counter() - began) * 1000)
    return found


async def figures(settings: Settings, runs: int) -> list[Figure]:
    """A page of 100 of each list as of each moment, beside the same page of now."""
    count = int(os.environ.get("FORGELOG_BENCH_JOBS", "100000"))
    records, _ = await past.write(settings, _template(), count, say, ALIVE)
    pool = await open_pool(settings)
    models: dict[str, ReadModel] = {}
    opened = [pool]
    try:
        for name in past.CONTEXTS:
            projection = projection_of(name)
            rebuilt = await rebuild(settings, projection)
            say(f"tables of {name}: {rebuilt.events / rebuilt.seconds:,.0f} events/s")
            reading = await open_pool(settings, live_schema(settings, name))
            opened.append(reading)
            models[name] = ReadModel(Runner(projection, settings, pool), reading)
        found: list[Figure] = []
        moments = await _moments(settings)
        for name, asked in _lists(models).items():
            now = await _timed(lambda asked=asked: asked(None), runs)  # type: ignore[misc]
            for share, moment in moments.items():
                found.append(
                    Figure(
                        f"{name} as of {share} % of {records:,} events, page of {PAGE}",
                        "ms",
                        await _timed(lambda asked=asked, moment=moment: asked(moment), runs),  # type: ignore[misc]
                        now,
                        "now",
                        BUDGET,
                        higher_is_better=False,
                    )
                )
        return found
    finally:
        for each in opened:
            await each.close()
