"""Has Postgres look at tables as they grow, so that it knows which index tells rows apart.

Its own watch (autovacuum) looks once a minute, and plans made before that hold until it has: for tables that were
empty, or had the tags of one run, where another index looks as good as the key. A minute's rows can be a hundred
thousand, and each of them may then be looked up along what thousands of them share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import asyncpg

from events.projections.folding import Written
from events.projections.projection import Table
from events.projections.tables import HISTORY, quoted

LOOKS = (256, 1_024, 4_096, 16_384)
"""Rows written to a table before each look. What grows beyond has its statistics, and is left to Postgres."""


class Statistics:
    """Of one schema's tables, since their runner began."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._rows: Counter[str] = Counter()
        self._due: dict[str, Table] = {}
        """Tables to look at, by their names."""

    def note(self, written: Sequence[Written], events: int) -> None:
        """Rows of tables, and events, were written."""
        for table, count in (*((table, len(rows)) for table, rows in written), (HISTORY, events)):
            before = self._rows[table.name]
            self._rows[table.name] = now = before + count
            if any(before < look <= now for look in LOOKS):
                self._due[table.name] = table

    async def renew(self, pool: asyncpg.Pool) -> None:
        """Look at the tables that have grown. Those that Postgres knows to have more rows than were written are not new
        to it; one that something else holds is looked at after the next step of growth."""
        if not self._due:
            return
        due, self._due = self._due, {}
        query = "select reltuples from pg_class where oid = to_regclass($1)"
        async with pool.acquire() as db:
            for name, table in due.items():
                place = f"{quoted(self._schema)}.{quoted(name)}"
                known = await db.fetchval(query, place)
                if known is None or known >= self._rows[name]:
                    continue
                past = "" if table is HISTORY else f", {quoted(self._schema)}.{quoted(table.past)}"
                await db.execute(f"analyze (skip_locked) {place}{past}")
