"""Pages of a long history by filters, on a real Postgres: whole, in order, and never dearer than they may be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio

from events.projections import tables
from events.queries.history import Filters, Place, Wanted, page_of, since_offsets, span
from tests.conftest import Servers
from tests.unit.writer.sample import SampleProjection

START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = 4_000
SCHEMA = "filtered_history"
STARTED, FAILED, CORDONED = "forgelog.jobs.v1.JobStarted", "forgelog.jobs.v1.JobFailed", "forgelog.x.v1.NodeCordoned"
COLUMNS = list(tables.HISTORY.columns)


def event(number: int) -> dict[str, Any]:
    """Two partitions; eight events at a time have the same moment; alice did little, and nothing lately."""
    alice = number % 97 == 0 and number < EVENTS // 2
    kind = CORDONED if number % 1_500 == 7 else FAILED if number % 10 == 0 else STARTED
    return {
        "partition": number % 2,
        "off": number // 2,
        "context": "jobs" if number % 3 else "resources",
        "aggregate": "node" if kind == CORDONED else "job",
        "origin": "",
        "subject": f"j{number % 50}",
        "key": "k",
        "id": f"e{number}",
        "type": kind,
        "time": START + timedelta(seconds=number // 8),
        "project": "vision/detect" if number % 5 == 0 else "local/default",
        "actor": "alice" if alice else "owner",
        "correlation": f"c{number // 40}",
        "causation": "",
        "cause": "" if number % 11 == 0 else "commands.jobs/0@1",
        "epoch": 0,
        "data": "{}",
    }


ALL = [event(number) for number in range(EVENTS)]
OWN = sorted((e for e in ALL if e["context"] == "jobs"), key=lambda e: (e["time"], e["partition"], e["off"]))


@pytest_asyncio.fixture(scope="module")
async def db(servers: Servers) -> AsyncIterator[asyncpg.Connection[Any]]:
    db = await asyncpg.connect(servers.postgres)
    await db.execute(f"drop schema if exists {SCHEMA} cascade")
    await tables.create_schema(db, SCHEMA, SampleProjection())
    await tables.copy_history(db, SCHEMA, [tuple(each[name] for name in COLUMNS) for each in ALL])
    await db.execute(f"set search_path to {SCHEMA}; analyze history")
    yield db
    await db.execute(f"drop schema {SCHEMA} cascade")
    await db.close()


LATER, EARLIER = START + timedelta(seconds=200), START + timedelta(seconds=300)


FILTERED: list[tuple[Filters, Callable[[dict[str, Any]], bool], str]] = [
    (Filters(), lambda _: True, ""),
    (Filters(actors=("alice",)), lambda e: e["actor"] == "alice", ""),
    (Filters(actors=("alice", "owner", "nobody")), lambda _: True, ""),
    (Filters(types=(CORDONED,)), lambda e: e["type"] == CORDONED, ""),
    (Filters(types=(FAILED, CORDONED)), lambda e: e["type"] != STARTED, ""),
    (Filters(projects=("vision/detect",)), lambda e: e["project"] == "vision/detect", ""),
    (Filters(since=LATER), lambda e: e["time"] >= LATER, ""),
    (Filters(until=EARLIER), lambda e: e["time"] < EARLIER, ""),
    (Filters(since=LATER, until=EARLIER), lambda e: LATER <= e["time"] < EARLIER, ""),
    (
        Filters(("alice",), (STARTED,), ("local/default",), LATER),
        lambda e: (e["actor"], e["type"], e["project"]) == ("alice", STARTED, "local/default") and e["time"] >= LATER,
        "",
    ),
    (Filters(actors=("alice",), since=START + timedelta(seconds=400)), lambda _: False, ""),
    (Filters(aggregate="node"), lambda e: e["aggregate"] == "node", ""),
    (Filters(by_itself=True), lambda e: not e["cause"], ""),
    (Filters(aggregate="job"), lambda e: e["subject"] == "j7" and e["aggregate"] == "job", "j7"),
    (Filters(aggregate="node"), lambda e: e["subject"] == "j7" and e["aggregate"] == "node", "j7"),
    (Filters(types=(FAILED,)), lambda e: e["subject"] == "j10" and e["type"] == FAILED, "j10"),
]


@pytest.mark.parametrize(("filters", "where", "subject"), FILTERED)
@pytest.mark.parametrize(("limit", "most"), [(7, 20), (100, 400), (10_000, 20_000)])
async def test_the_pages_of_a_filtered_history_are_all_that_fits_once_and_in_order(
    db: asyncpg.Connection[Any], filters: Filters, where: Any, subject: str, limit: int, most: int
) -> None:
    found: list[Any] = []
    after: Place | None = None
    for _ in range(2 + 2 * EVENTS // min(limit, most)):
        rows, after = await page_of(db, "jobs", filters, subject=subject, after=after, limit=limit, most=most)
        assert len(rows) <= limit
        found += rows
        if after is None:
            break
    assert after is None, "there is a last page"
    assert [row["id"] for row in found] == [e["id"] for e in OWN if where(e)]


def test_what_is_in_memory_is_filtered_as_what_is_in_the_table_is() -> None:
    for filters, where, subject in FILTERED:
        wanted = Wanted("jobs", filters, frozenset([subject] if subject else ()))
        assert [e for e in ALL if wanted(e)] == [e for e in ALL if e["context"] == "jobs" and where(e)]


@pytest.mark.parametrize(
    "filters", [Filters(actors=("owner",)), Filters(types=(STARTED,)), Filters(actors=("nobody",))]
)
async def test_a_page_reads_little_more_of_the_history_than_it_shows(
    db: asyncpg.Connection[Any], filters: Filters
) -> None:
    """However much an actor did before, and though it did nothing since: the planner can't know."""
    explaining = Explaining(db)
    rows, _ = await page_of(explaining, "jobs", filters, limit=10)  # type: ignore[arg-type]
    (plan,) = explaining.plans
    # Events of another context lie between them, and events of one moment are sorted some at a time.
    assert read_by(plan) <= 10 * len(rows), plan


class Explaining:
    """A connection that keeps the plan of each query, with what it read."""

    def __init__(self, db: asyncpg.Connection[Any]) -> None:
        self._db = db
        self.plans: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def fetch(self, query: str, *arguments: Any) -> Any:
        told = await self._db.fetchval(f"explain (analyze, format json) {query}", *arguments)
        self.plans.append(orjson.loads(told)[0]["Plan"])
        return await self._db.fetch(query, *arguments)


def read_by(plan: dict[str, Any]) -> int:
    """Rows that the scans of a plan have read of the table."""
    below = sum(read_by(each) for each in plan.get("Plans", ()))
    if plan.get("Relation Name") != "history":
        return below
    return below + int(plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)))


async def test_a_flow_and_the_past_are_filtered_too(db: asyncpg.Connection[Any]) -> None:
    filters = Filters(types=(FAILED,))
    rows, _ = await page_of(db, "jobs", filters, correlation="c50", limit=100)
    assert [row["id"] for row in rows] == [e["id"] for e in OWN if e["correlation"] == "c50" and e["type"] == FAILED]
    then = START + timedelta(seconds=3)
    rows, _ = await page_of(db, "jobs", Filters(), as_of=then, limit=100)
    assert [row["id"] for row in rows] == [e["id"] for e in OWN if e["time"] <= then]


async def test_what_is_written_between_two_pages_moves_nothing(db: asyncpg.Connection[Any]) -> None:
    filters = Filters(actors=("owner",))
    first, after = await page_of(db, "jobs", filters, limit=1_000)
    new = {**event(EVENTS + 1), "context": "jobs", "off": 1 << 40}
    await tables.copy_history(db, SCHEMA, [tuple(new[name] for name in COLUMNS)])
    second, _ = await page_of(db, "jobs", filters, after=after, limit=10_000)
    await db.execute("delete from history where off = $1", 1 << 40)
    wanted = [e["id"] for e in OWN if e["actor"] == "owner"]
    assert [row["id"] for row in [*first, *second]] == [*wanted, new["id"]]


async def test_watching_from_a_time_begins_at_the_first_event_of_each_partition(db: asyncpg.Connection[Any]) -> None:
    begun = await since_offsets(db, "jobs", LATER)
    assert begun == {n: min(e["off"] for e in OWN if e["partition"] == n and e["time"] >= LATER) for n in (0, 1)}
    rows = await span(db, "jobs", 1, begun[1], 1_500, ["j11", "j13"], Filters(types=(STARTED,), until=EARLIER))
    assert [row["id"] for row in rows] == [
        e["id"]
        for e in sorted(OWN, key=lambda e: e["off"])
        if e["partition"] == 1
        and begun[1] <= e["off"] < 1_500
        and e["subject"] in ("j11", "j13")
        and e["type"] == STARTED
        and e["time"] < EARLIER
    ]


async def test_tables_of_an_earlier_version_get_the_indexes_when_they_are_opened(db: asyncpg.Connection[Any]) -> None:
    names = "select count(*) from pg_indexes where schemaname = $1 and tablename = 'history'"
    wanted = await db.fetchval(names, SCHEMA)
    await db.execute("drop index history_index_3, history_index_4")
    await tables.create_schema(db, SCHEMA, SampleProjection())
    assert await db.fetchval(names, SCHEMA) == wanted == len(tables.HISTORY.indexes) + 1


async def test_tables_that_are_there_are_opened_while_somebody_writes_to_them(servers: Servers) -> None:
    """As `forgelog rebuild --check` does beside the service. Each would wait for the other, were a lock taken."""
    schema = f"{SCHEMA}_written"
    db, writer = await asyncpg.connect(servers.postgres), await asyncpg.connect(servers.postgres)
    try:
        await db.execute(f"drop schema if exists {schema} cascade")
        await tables.create_schema(db, schema, SampleProjection())
        async with writer.transaction():
            every = [name for table in SampleProjection().tables for name in (table.name, table.past)]
            for name in (*every, "history", "positions", "origins", "made"):
                await writer.execute(f'lock table {schema}."{name}" in row exclusive mode')  # as whoever writes has it
            await db.execute("set lock_timeout = '10s'")  # it raises then
            await tables.create_schema(db, schema, SampleProjection())
    finally:
        await writer.close()
        await db.execute(f"drop schema if exists {schema} cascade")
        await db.close()


async def test_tables_of_the_format_before_answer_until_they_are_built_anew(servers: Servers) -> None:
    """What they know: nothing of kinds. They get no index, which would take long, and stay marked as what they are."""
    schema = f"{SCHEMA}_before"
    db = await asyncpg.connect(servers.postgres)
    try:
        await db.execute(f"drop schema if exists {schema} cascade")
        await tables.create_schema(db, schema, SampleProjection())
        await db.execute(f"set search_path to {schema}")
        await db.execute("alter table history drop column aggregate, drop column origin")
        await db.execute("alter table made drop column format")
        columns = [name for name in COLUMNS if name not in ("aggregate", "origin")]
        records = [tuple(each[name] for name in columns) for each in OWN[:50]]
        await db.copy_records_to_table("history", schema_name=schema, records=records, columns=columns)
        await tables.create_schema(db, schema, SampleProjection())
        rows, _ = await page_of(db, "jobs", Filters(), limit=100)
        assert [row["id"] for row in rows] == [each["id"] for each in OWN[:50]]
        assert {row["aggregate"] for row in rows} == {""}
        for subject in ("", "j7"):
            about = [each["id"] for each in OWN[:50] if each["aggregate"] == "job" and subject in ("", each["subject"])]
            rows, _ = await page_of(db, "jobs", Filters(aggregate="job"), subject=subject, limit=100)
            assert [row["id"] for row in rows] == about, "what an event is about shows by its type"
            rows, _ = await page_of(db, "jobs", Filters(aggregate="queue"), subject=subject, limit=100)
            assert rows == []
        rows = await span(db, "jobs", 0, 0, EVENTS, (), Filters(aggregate="job"))
        assert len(rows) == len([each for each in OWN[:50] if each["aggregate"] == "job" and each["partition"] == 0])
        assert await db.fetchval("select format from made") == 1
        # of one table: the view pg_indexes asks for those of others, which may just go
        indexes = await db.fetch(
            "select pg_get_indexdef(indexrelid) from pg_index where indrelid = $1::regclass", f"{schema}.history"
        )
        assert indexes
        assert not [definition for (definition,) in indexes if "aggregate" in definition]
    finally:
        await db.execute(f"drop schema if exists {schema} cascade")
        await db.close()
