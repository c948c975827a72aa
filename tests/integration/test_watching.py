"""Watches of jobs and of events on a real log and real tables. The pool that queries read by counts how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from events.language.base import Command
from events.log import topics
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.process.settings import Settings
from events.projections.runner import Runner
from events.queries import watching
from events.queries.log_queries import LogServicer
from events.queries.queries import QueryError, ReadModel
from events.service import open_pool
from events.writer.writer import Writer
from forgelog_pb.jobs.v1 import queries_pb2 as jobs_pb
from forgelog_pb.jobs.v1 import types_pb2
from forgelog_pb.log.v1 import queries_pb2 as log_pb
from services.jobs.decide import Jobs
from services.jobs.projections import PROJECTION
from services.jobs.queries import JobQueriesServicer
from tests import PATIENCE
from tests.integration.test_runtime import running
from tests.unit.jobs import desk

WATCHERS = 1000
OPEN = cast(Any, SimpleNamespace(done=lambda: False))
"""The context of a call whose caller listens."""


class Counting:
    """A pool, and how often a connection of it was taken: nothing can be asked without one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.taken = 0

    def acquire(self) -> Any:
        self.taken += 1
        return self.pool.acquire()


class Served:
    """The queries of jobs, and how to command them."""

    def __init__(
        self, read: ReadModel, pool: Counting, send: Callable[[Command, str], Any], settings: Settings
    ) -> None:
        self.read = read
        self.pool = pool
        self.send = send
        self.jobs = JobQueriesServicer(read, cast(Any, None))
        self.log = LogServicer("jobs", read, settings, dict)

    def watch(self, **request: Any) -> AsyncIterator[Any]:
        return self.jobs.WatchJobs(jobs_pb.WatchJobsRequest(**request), OPEN)

    def events(self, **request: Any) -> AsyncIterator[Any]:
        return self.log.WatchEvents(log_pb.WatchEventsRequest(**request), OPEN)


@asynccontextmanager
async def served(settings: Settings, rivals: int = 0) -> AsyncIterator[Served]:
    """A writer of jobs, its tables and their queries; `rivals` are runners of other processes on the same tables."""
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    writer, runner = Writer(Jobs(), settings), Runner(PROJECTION, settings, pool)
    others = [Runner(PROJECTION, settings, pool) for _ in range(rivals)]
    counting = Counting(await open_pool(settings, runner.schema))
    read = ReadModel(runner, cast(Any, counting))
    async with (
        running(writer.run(), runner.run(), *(other.run() for other in others)),
        Publisher(settings) as publisher,
        Outcomes(settings) as outcomes,
    ):

        async def send(command: Command, id: str) -> None:
            future = outcomes.expect(id)
            await publisher.publish(command, id=id)
            outcome = await asyncio.wait_for(future, PATIENCE)
            await read.wait_for([str(event.position) for event in outcome.events])

        yield Served(read, counting, send, settings)
    await counting.pool.close()
    await pool.close()


async def next_of(watch: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await anext(watch)


def short(answer: Any) -> tuple[str, bool]:
    """Which job, and whether it is to be cancelled."""
    return answer.job.job_id, answer.job.cancel_requested


async def test_however_many_watch_what_changes_is_asked_of_the_database_once_each(settings: Settings) -> None:
    async with served(settings) as here:
        await here.send(desk.submit("first"), "0")
        await here.send(desk.submit("watched", depends_on=(desk.after("first"),)), "1")
        watches = [here.watch(job_ids=["watched"], until_ended=True) for _ in range(WATCHERS)]
        events = [here.events(subjects=["watched"], types=["JobCancelled"]) for _ in range(WATCHERS)]
        first = [short(await next_of(watch)) for watch in watches]
        assert first == [("watched", False)] * WATCHERS
        heard = [asyncio.create_task(next_of(watch)) for watch in events]
        ends = [asyncio.create_task(_last(watch)) for watch in watches]
        await here.send(desk.submit("other"), "2")
        asked = here.pool.taken
        for number in range(5):
            await here.send(desk.submit(f"other-{number}"), f"3-{number}")
        assert here.pool.taken == asked, "what concerns nobody is asked of nobody"
        await here.send(desk.cancel("watched"), "4")
        assert {answer.job.status for answer in await asyncio.gather(*ends)} == {types_pb2.JOB_STATUS_CANCELLED}
        assert {answer.event.subject for answer in await asyncio.gather(*heard)} == {"watched"}
        assert here.pool.taken == asked


async def _last(watch: AsyncIterator[Any]) -> Any:
    """The last answer of a watch that ends."""
    last = None
    async with asyncio.timeout(PATIENCE):
        async for answer in watch:
            last = answer
    return last


async def test_watches_of_a_queue_of_an_owner_of_all_get_theirs(settings: Settings) -> None:
    async with served(settings) as here:
        await here.send(desk.submit("one"), "1")
        await here.send(desk.submit("two", queue="gpu"), "2")
        every, of_queue = here.watch(), here.watch(queue="gpu")
        assert [short(await next_of(every))[0] for _ in range(2)] == ["one", "two"]
        assert short(await next_of(of_queue)) == ("two", False)
        await here.send(desk.cancel("one"), "3")
        await here.send(desk.cancel("two"), "4")
        assert [short(await next_of(every)) for _ in range(2)] == [("one", True), ("two", True)]
        assert short(await next_of(of_queue)) == ("two", True)
        with pytest.raises(QueryError, match="there is no job 'three'"):
            await next_of(here.watch(job_ids=["one", "three"]))


async def test_a_watcher_that_is_too_slow_looks_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "KEPT_ROWS", 1)
    async with served(settings) as here:
        await here.send(desk.submit("job-0"), "0")
        jobs, events = here.watch(), here.events(types=["JobSubmitted"])
        assert short(await next_of(jobs)) == ("job-0", False)
        begun = asyncio.create_task(next_of(events))
        await asyncio.sleep(0)
        for number in range(1, 6):
            await here.send(desk.submit(f"job-{number}"), f"{number}")
        await here.send(desk.cancel("job-3"), "6")
        told = dict([short(await next_of(jobs)) for _ in range(5)])
        assert told == {f"job-{number}": number == 3 for number in range(1, 6)}
        heard = {(await begun).event.subject} | {(await next_of(events)).event.subject for _ in range(4)}
        assert heard == {f"job-{number}" for number in range(1, 6)}


async def test_watchers_miss_nothing_where_another_process_stores(settings: Settings) -> None:
    async with served(settings, rivals=1) as here:
        await here.send(desk.submit("job-0"), "0")
        jobs, events = here.watch(), here.events(types=["JobSubmitted"])
        assert short(await next_of(jobs)) == ("job-0", False)
        begun = asyncio.create_task(next_of(events))
        await asyncio.sleep(0)
        for number in range(1, 8):
            await here.send(desk.submit(f"job-{number}"), f"{number}")
        assert {short(await next_of(jobs))[0] for _ in range(7)} == {f"job-{number}" for number in range(1, 8)}
        heard = [(await begun).event.subject] + [(await next_of(events)).event.subject for _ in range(6)]
        assert sorted(heard) == [f"job-{number}" for number in range(1, 8)]
