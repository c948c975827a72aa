"""Rows are looked up on a real Postgres along their whole key, also where they share a part of it with thousands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from events.projections import tables
from events.projections.projection import Projection, Table
from tests.conftest import Servers

SCHEMA = "row_lookups"
SHARED = "the archive of code that every job names"
NAMED = Table(
    name="named",
    key=("subject", "digest"),
    columns={"subject": "text", "digest": "text", "size": "bigint"},
    indexes=("digest",),
)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class Naming(Projection):
    context = "jobs"
    tables = (NAMED,)


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


async def test_an_index_of_a_part_of_the_key_is_replaced_where_an_earlier_version_made_it(
    db: asyncpg.Connection[Any],
) -> None:
    await db.execute("drop index named_index_0_key")
    await db.execute("create index named_index_0 on named (digest)")
    for _ in range(2):
        await tables.create_schema(db, SCHEMA, Naming())
    query = "select indexname from pg_indexes where schemaname = $1 and tablename = 'named' order by 1"
    assert [row[0] for row in await db.fetch(query, SCHEMA)] == ["named_index_0_key", "named_pkey"]
