"""Positions of tables: how far each input partition is folded into a schema, kept in the rows' transaction.

Knows the table `positions` and what the database refuses; neither events nor rows.
"""

from __future__ import annotations

import asyncpg

from events.log.positions import Place, ReaderPosition
from events.process.settings import Settings
from events.projections import tables
from events.projections.tables import Db

UNSTORABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,
)
"""What the database, or its client, raises at a value that no table can hold."""


def of_a_value(error: Exception) -> bool:
    """Whether what was written is to blame, and not the database or its connection."""
    return isinstance(error, UNSTORABLE) or not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError)


class PositionsMoved(Exception):
    """Someone else moved the positions; what this runner holds is stale."""


def live_schema(settings: Settings, context: str) -> str:
    """The schema that queries read."""
    return f"{settings.schema_}_{context}"


async def read_positions(db: Db, schema: str) -> dict[Place, ReaderPosition]:
    """The stored positions of a schema."""
    rows = await db.fetch(f"select context, partition, off, epoch from {tables.quoted(schema)}.positions")
    return {(row["context"], row["partition"]): ReaderPosition(row["off"], row["epoch"]) for row in rows}


async def write_positions(db: Db, old: dict[Place, ReaderPosition], new: dict[Place, ReaderPosition]) -> None:
    """Move the positions, or raise PositionsMoved if they are not where this runner left them."""
    moved = [place for place, position in new.items() if old.get(place) != position]
    if not moved:
        return
    known = [place for place in moved if place in old]
    fresh = [place for place in moved if place not in old]
    changed = 0
    if known:
        changed += await db.fetchval(
            "with n as (select * from unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[]) "
            "as n(context, partition, off, epoch, was)), u as (update positions p set off = n.off, epoch = n.epoch "
            "from n where p.context = n.context and p.partition = n.partition and p.off = n.was returning 1) "
            "select count(*) from u",
            [place[0] for place in known],
            [place[1] for place in known],
            [new[place].offset for place in known],
            [new[place].epoch for place in known],
            [old[place].offset for place in known],
        )
    if fresh:
        changed += await db.fetchval(
            "with u as (insert into positions (context, partition, off, epoch) "
            "select * from unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) on conflict do nothing "
            "returning 1) select count(*) from u",
            [place[0] for place in fresh],
            [place[1] for place in fresh],
            [new[place].offset for place in fresh],
            [new[place].epoch for place in fresh],
        )
    if changed != len(moved):
        raise PositionsMoved
