"""Points of purged runs: their rows go, a bounded step at a time. Their records stay in the topic."""

from __future__ import annotations

from events.projections.tables import Db

_RUNS = 64
"""Runs of one step."""
_ROWS = 1000
"""Chunks that one step removes, and as many heads."""

_HEADS = """
    delete from heads where ctid = any(array(select ctid from heads where run = any($1::text[]) limit $2))
"""
_CHUNKS = """
    delete from chunks where ctid = any(array(
        select c.ctid from chunks c join series s on s.number = c.series where s.run = any($1::text[]) limit $2))
"""


async def remove(db: Db) -> bool:
    """Remove rows of runs that are purged; whether there are more. The schema is the search path."""
    rows = await db.fetch("select run from purged where is_open order by run limit $1", _RUNS)
    runs = [row["run"] for row in rows]
    if not runs:
        return False
    for statement in (_HEADS, _CHUNKS):
        done: str = await db.execute(statement, runs, _ROWS)
        if int(done.split()[-1]) >= _ROWS:
            return True
    await db.execute("delete from series where run = any($1::text[])", runs)
    await db.execute("delete from latest where run_id = any($1::text[])", runs)
    await db.execute("update purged set is_open = false where run = any($1::text[])", runs)
    return len(runs) == _RUNS
