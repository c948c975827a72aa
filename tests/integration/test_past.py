"""Tables as of any time, in a real database: of every context's histories, over a rebuild and a repair, and while
tables of an earlier version serve."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest

from events.language.jobs import CancelJob
from events.language.jobs.spec import JobArray
from events.language.resources import CordonNode, RemoveNode
from events.log import topics
from events.log.envelope import Recorded
from events.log.repairing import look_at, skip
from events.process.settings import Settings
from events.projections import past, shards, tables
from events.projections import rebuild as rebuilding
from events.projections.folding import Fold
from events.projections.positions import live_schema
from events.projections.projection import Projection
from events.projections.rebuild import projection_of
from events.projections.replaying import RebuildFailed, connected
from events.projections.tables import Db
from events.queries import guard
from events.queries.queries import QueryError, ReadModel
from tests import PATIENCE
from tests.integration.test_runtime import history, projected, submit
from tests.unit.jobs import desk
from tests.unit.projections.past import Tables, batches, folded, spread, times
from tests.unit.projections.test_past import recorded
from tests.unit.resources import pools
from tests.unit.scheduling.test_projections import a_history
from tests.unit.writer.sample import SampleProjection

INSTANT = timedelta(microseconds=1)


async def shown(db: Db, projection: Projection) -> Tables:
    """The rows of every table that the unqualified names mean."""
    found: Tables = {}
    for table in projection.tables:
        rows = [dict(row) for row in await db.fetch(f"select {', '.join(table.columns)} from {table.name}")]
        found[table.name] = {table.key_of(row): row for row in rows}
        assert len(found[table.name]) == len(rows), f"{table.name} has a row twice"
    return found


async def check(db: Db, schema: str, projection: Projection, history: Sequence[Recorded]) -> None:
    """As of the time of every event, and right before it, the rows are those of the events up to then."""
    for moment in times(history):
        for at in (moment - INSTANT, moment):
            transaction = db.transaction()
            await transaction.start()
            then = await past.show(db, schema, projection, at)
            assert await shown(then, projection) == folded(
                projection, [each for each in history if each.meta.time <= at]
            )
            await transaction.rollback()


async def check_ways_of_asking(db: Db, schema: str, projection: Projection, moment: datetime) -> None:
    """However it is asked, rows are those of then; and only of tables that are named views are made."""
    name = next(table.name for table in projection.tables if table.key)
    query = f"select * from {name}"

    async def through_a_cursor(then: Db) -> list[Any]:
        return [row async for row in then.cursor(query)]

    async def from_a_cursor(then: Db) -> list[Any]:
        return await (await then.cursor(query)).fetch(1000)

    async def prepared(then: Db) -> list[Any]:
        return await (await then.prepare(query)).fetch()

    async def the_first(then: Db) -> list[Any]:
        return [await then.fetchrow(query)]

    async def a_value(then: Db) -> list[Any]:
        return [await then.fetchval(f"select count(*) from {name}")]

    for at, there_are in ((moment - timedelta(days=1000), False), (moment, True)):
        for way in (through_a_cursor, from_a_cursor, prepared, the_first, a_value):
            transaction = db.transaction()
            await transaction.start()
            found = await way(await past.show(db, schema, projection, at))
            assert any(found) == there_are, way.__name__
            views = await db.fetch("select relname from pg_class where relnamespace = pg_my_temp_schema()")
            assert [view["relname"] for view in views] == [name]
            await transaction.rollback()


def history_of_jobs() -> list[Recorded]:
    """An array with a retry and a cancel, and a job that waits for it."""
    all_jobs = desk.Desk()
    all_jobs.command(desk.submit(array=JobArray(size=4), restart={"mode": "on_failure", "max_restarts": 1}))
    all_jobs.command(desk.submit("second", depends_on=({"job_id": "job", "kind": "after_any"},)))
    all_jobs.event(desk.bound("0-3"))
    all_jobs.command(desk.started(0, 1, 2))
    all_jobs.command(desk.exited(0, code=1))
    all_jobs.command(desk.exited(1))
    all_jobs.command(desk.cancel())
    all_jobs.command(desk.exited(2, signal=15))
    return [
        recorded(event, time, number)
        for number, events in enumerate(all_jobs.history.values())
        for event, time in events
    ]


def history_of_resources() -> list[Recorded]:
    """Two nodes; one of them registers, works, and is removed."""
    pool, found = pools.Pools(), []
    for command in (pools.register("n1"), pools.register("n2")):
        found += [recorded(event, pool.now) for event in pool.command(command)]
    plan = pools.scheduled(pools.placement("a-1", "n1", "0-1"))
    found += [recorded(event, pool.now) for event in pool.event(plan)]
    for command in (
        CordonNode(pool=pools.POOL, node_id="n1", reason="test"),
        pools.ended(("a-1", "0"), node_id="n1"),
        pools.ended(("a-1", "1"), node_id="n1"),
        RemoveNode(pool=pools.POOL, node_id="n2"),
        pools.register("n2"),
    ):
        found += [recorded(event, pool.now) for event in pool.command(command)]
    return found


def history_of_scheduling() -> list[Recorded]:
    own, foreign = a_history()
    return [*own, *foreign]


HISTORIES = {"jobs": history_of_jobs, "resources": history_of_resources, "scheduling": history_of_scheduling}


@pytest.mark.parametrize("context", HISTORIES)
async def test_tables_as_of_every_time_are_those_of_the_events_up_to_then(settings: Settings, context: str) -> None:
    projection, history, dice = projection_of(context), spread(HISTORIES[context]()), random.Random(1)
    schema = live_schema(settings, context)
    assert len(times(history)) > 3
    async with connected(settings) as db:
        await tables.create_schema(db, schema, projection)
        for batch in batches(history, dice, 5):
            async with db.transaction():
                await db.execute(f"set local search_path to {tables.quoted(schema)}")
                await Fold(projection).apply(db, batch)
        await check(db, schema, projection, history)
        await check_ways_of_asking(db, schema, projection, times(history)[-1])


# On a log


@asynccontextmanager
async def sending(settings: Settings) -> AsyncIterator[tuple[Any, ReadModel]]:
    """A writer and its tables. What is given first sends a command and returns its outcome, once the tables have it."""
    await topics.ensure_topics(settings)
    async with projected(settings) as (publisher, outcomes, read):

        async def send(command: Any, id: str) -> Any:
            future = outcomes.expect(id)
            await publisher.publish(command, id=id)
            outcome = await asyncio.wait_for(future, PATIENCE)
            await read.wait_for([str(outcome.position)])
            return outcome

        yield send, read


async def logged(settings: Settings) -> list[Recorded]:
    """All valid events of jobs, by partition."""
    return sorted(await history(settings), key=lambda each: (each.position.partition, each.position.offset))


async def test_the_past_stays_the_same_over_rebuilds_and_goes_without_what_is_passed_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    projection, schema = SampleProjection(), live_schema(settings, "jobs")
    async with sending(settings) as (send, _), connected(settings) as db:
        for number in range(12):
            await send(submit(f"job {number}", f"j-{number}"), f"submit-{number}")
        for turn, number in enumerate((0, 1, 2, 0, 1, 0)):
            cancelled = await send(CancelJob(job_id=f"j-{number}"), f"cancel-{turn}")
        before = await logged(settings)
        await check(db, schema, projection, before)
        found = await rebuilding.diff(settings, projection)
        assert found.equal, found
        assert found.rows == {"jobs": 12, "jobs_past": 6}

        # By several processes.
        with monkeypatch.context() as patch:
            patch.setattr(shards, "SMALLEST", 1)
            patch.setattr(rebuilding.os, "cpu_count", lambda: 3)
            await rebuilding.rebuild(settings, projection)
        await check(db, schema, projection, before)

        # The last cancel is passed over: it is in no past any more.
        await skip(settings, await look_at(settings, cancelled.position), "a test", "tester")
        async with asyncio.timeout(PATIENCE):
            while await db.fetchval(f"select count(*) from {tables.quoted(schema)}.history") == len(before):
                await asyncio.sleep(0.05)
        after = await logged(settings)
        assert len(after) < len(before)
        await check(db, schema, projection, after)
        found = await rebuilding.diff(settings, projection)
        assert found.equal, found

        # A past that is not the log's is found.
        await db.execute(f"update {tables.quoted(schema)}.jobs_past set cancelled = 7 where job_id = 'j-0'")
        found = await rebuilding.diff(settings, projection)
        assert set(found.missing) == set(found.surplus) == {"jobs_past"}


async def test_tables_of_an_earlier_version_have_no_past_until_they_are_built_anew(
    settings: Settings,
) -> None:
    async with sending(settings) as (send, read), connected(settings) as db:
        await send(submit("one", "one"), "one")
        now = datetime.now(UTC)
        made = f"{tables.quoted(live_schema(settings, 'jobs'))}.made"
        await db.execute(f"update {made} set format = format - 1")
        with pytest.raises(QueryError, match="being built anew") as told:
            async with read.view(as_of=now):
                pass
        assert told.value.code is grpc.StatusCode.UNAVAILABLE
        async with read.view() as tables_now:
            assert await tables_now.fetchval("select name from jobs") == "one"
        with pytest.raises(RebuildFailed, match="built anew"):
            await rebuilding.diff(settings, SampleProjection())
        await rebuilding.rebuild(settings, SampleProjection())
        async with read.view(as_of=now) as tables_then:
            assert await tables_then.fetchval("select name from jobs") == "one"


async def test_a_table_that_an_earlier_version_had_not_is_not_made_empty(settings: Settings) -> None:
    """Else a query would answer that there is nothing; so it is told to ask again."""
    projection = projection_of("resources")
    schema = live_schema(settings, projection.context)
    async with connected(settings) as db:
        await tables.create_schema(db, schema, projection)
        await db.execute(f"drop table {tables.quoted(schema)}.node_uses")
        await db.execute(f"update {tables.quoted(schema)}.made set version = version - 1")
        await tables.create_schema(db, schema, projection)
        with pytest.raises(asyncpg.UndefinedTableError) as told:
            await db.fetch(f"select * from {tables.quoted(schema)}.node_uses")
        assert guard.passing(told.value) == "the tables are being made or swapped; ask again"


async def test_a_query_of_the_past_and_a_swap_of_the_tables_do_not_wait_for_each_other(settings: Settings) -> None:
    """The query looks at one table after the other; the swap takes all of them away."""
    projection, schema = SampleProjection(), live_schema(settings, "jobs")
    async with sending(settings) as (send, _read), connected(settings) as db, connected(settings) as other:
        await send(submit("one", "one"), "one")
        now = datetime.now(UTC)
        oid = await tables.schema_oid(other, schema)
        async with db.transaction():
            assert await past.is_kept(db, schema, projection)
            swapping = asyncio.create_task(rebuilding.rebuild(settings, projection))
            async with asyncio.timeout(PATIENCE):
                while await tables.schema_oid(other, schema) == oid:
                    await asyncio.sleep(0.02)
            then = await past.show(db, schema, projection, now)
            assert [row["name"] for row in (await shown(then, projection))["jobs"].values()] == ["one"]
        async with asyncio.timeout(PATIENCE):
            await swapping
        assert await tables.schema_oid(other, f"{schema}_old") == 0
