"""Rows are looked up on a real Postgres along their whole key, also where they share a part of it with thousands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from events.projections import tables
from events.projections.folding import Held
from events.projections.projection import Projection, Table
from events.projections.statistics import LOOKS, Statistics
from tests.conftest import Servers

SCHEMA = "row_lookups"
SHARED = "the archive of code that every job names"
NAMED = Table(
    name="named",
    key=("subject", "digest"),
    columns={"subject": "text", "digest": "text", "size": "bigint"},
    indexes=("digest",),
)
TAGGED = Table(
    name="tagged",
    key=("run", "key"),
    columns={"run": "text", "key": "text", "value": "text"},
    indexes=("key, left(value, 64)",),
)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class Naming(Projection):
    context = "jobs"
    tables = (NAMED, TAGGED)


@pytest_asyncio.fixture
async def db(servers: Servers) -> AsyncIterator[asyncpg.Connection[Any]]:
    db = await asyncpg.connect(servers.postgres)
    await db.execute(f"drop schema if exists {SCHEMA} cascade")
    await tables.create_schema(db, SCHEMA, Naming())
    await db.execute(f"set search_path to {SCHEMA}")
    yield db
    await db.execute(f"drop schema {SCHEMA} cascade")
    await db.close()


async def _entries_read(db: asyncpg.Connection[Any]) -> int:
    """Of all indexes, so far."""
    await db.execute("select pg_stat_force_next_flush()")
    query = "select coalesce(sum(idx_tup_read), 0) from pg_stat_user_indexes where schemaname = $1"
    return int(await db.fetchval(query, SCHEMA))


@pytest.mark.parametrize("known", [False, True], ids=["no statistics", "statistics"])
async def test_rows_are_looked_up_along_their_whole_key(db: asyncpg.Connection[Any], known: bool) -> None:
    """With two digests of its own for each shared one, an index of the digest alone looks as narrow as the key."""
    rows = [
        ({"subject": f"job-{number}", "digest": digest, "size": 1}, SINCE)
        for number in range(2_000)
        for digest in (SHARED, f"{number} model", f"{number} table")
    ]
    await tables.insert_rows(db, NAMED, rows)
    if known:
        await db.execute("analyze named")
    before = await _entries_read(db)
    new = [(f"new-{number}", SHARED) for number in range(100)]
    found = await tables.load_rows(db, NAMED, [*new, ("job-7", SHARED)])
    assert found == {("job-7", SHARED): rows[21]}
    assert await _entries_read(db) - before < 6_500  # each row of the table once, at most: not once for each key


async def test_a_table_that_grows_is_looked_at_before_plans_of_when_it_was_small_cost_anything(
    db: asyncpg.Connection[Any], servers: Servers
) -> None:
    """Of one run's tags Postgres learns that the run tells none apart, and that the key tells all."""

    async def insert(runs: range, tags: int = 1) -> list[tables.Versioned]:
        rows = [
            ({"run": f"run-{run}", "key": f"tag-{tag}", "value": f"{run % 3}"}, SINCE)
            for run in runs
            for tag in range(tags)
        ]
        await tables.insert_rows(db, TAGGED, rows)
        return rows

    async def told(rows: list[tables.Versioned]) -> float:
        """How many rows Postgres knows of once the statistics have heard of these."""
        statistics.note([(TAGGED, {TAGGED.key_of(row): Held(row, at) for row, at in rows})], len(rows))
        await statistics.renew(pool)
        return float(await db.fetchval("select reltuples from pg_class where oid = 'tagged'::regclass"))

    async def read() -> int:
        before = await _entries_read(db)
        assert await tables.load_rows(db, TAGGED, [(f"new-{number}", "tag-0") for number in range(8)]) == {}
        return await _entries_read(db) - before

    statistics = Statistics(SCHEMA)
    async with asyncpg.create_pool(servers.postgres, min_size=1, max_size=1) as pool:
        rows = await insert(range(1), tags=6)
        await db.execute("analyze tagged")  # as Postgres does by itself, some time in a minute
        rows += await insert(range(1, 3_000))
        assert await read() >= 8 * 2_999, "each reads what all runs have of its tag"
        assert await told(rows) == 3_005
        assert await read() == 0
        assert await told(await insert(range(10_000, 10_100))) == 3_005, "not at every batch"
        assert await told(await insert(range(20_000, 20_000 + LOOKS[2]))) == 3_105 + LOOKS[2]


async def test_a_table_that_postgres_knows_is_left_to_it(db: asyncpg.Connection[Any], servers: Servers) -> None:
    """A process that has just begun has written little to a table of thousands."""
    rows = [({"run": f"run-{run}", "key": "tag", "value": ""}, SINCE) for run in range(2_000)]
    await tables.insert_rows(db, TAGGED, rows)
    await db.execute("vacuum tagged")
    statistics = Statistics(SCHEMA)
    statistics.note([(TAGGED, {TAGGED.key_of(row): Held(row, at) for row, at in rows[:300]})], 0)
    async with asyncpg.create_pool(servers.postgres, min_size=1, max_size=1) as pool:
        await statistics.renew(pool)
    assert await db.fetchval("select count(*) from pg_stats where schemaname = $1", SCHEMA) == 0


async def test_an_index_of_a_part_of_the_key_is_replaced_where_an_earlier_version_made_it(
    db: asyncpg.Connection[Any],
) -> None:
    await db.execute("drop index named_index_0_key")
    await db.execute("create index named_index_0 on named (digest)")
    for _ in range(2):
        await tables.create_schema(db, SCHEMA, Naming())
    query = "select indexname from pg_indexes where schemaname = $1 and tablename = 'named' order by 1"
    assert [row[0] for row in await db.fetch(query, SCHEMA)] == ["named_index_0_key", "named_pkey"]
