"""Rows of a stream that are older than its topic keeps records: they go, a bounded step at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from events.projections.tables import Db, quoted

ROWS = 1000
"""Removed in one transaction: of tasks' output 64 MiB at most."""


@dataclass(frozen=True, slots=True)
class Expiring:
    """A table whose rows go with the records that they are of."""

    table: str
    column: str
    """When a row came (``timestamptz``). It needs an index."""


async def expire(db: Db, expiring: Expiring, age: timedelta) -> int:
    """Remove the oldest rows that are older than `age`, at most `ROWS`; how many went. The schema is the search
    path. Those who read a row meanwhile have read it; nobody waits for this."""
    table, column = quoted(expiring.table), quoted(expiring.column)
    done: str = await db.execute(
        f"delete from {table} where ctid = any(array("
        f"select ctid from {table} where {column} < now() - $1::interval order by {column} limit $2 "
        "for update skip locked))",
        age,
        ROWS,
    )
    return int(done.split()[-1])
