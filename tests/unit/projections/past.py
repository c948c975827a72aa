"""Histories that are folded into tables with a past, and what the rows must be at any time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.log.envelope import Recorded
from events.projections import folding, tables
from events.projections.folding import Fold
from events.projections.projection import Key, Projection, Row, Table
from tests.rows import HeldRows

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

Tables = dict[str, dict[Key, Row]]
"""Rows by table and key."""


class Stored:
    """Tables and their past, in memory. Refuses to insert a row twice, as a primary key does."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.rows: dict[str, dict[Key, tables.Versioned]] = {}
        self.past: dict[str, list[tuple[Row, datetime, datetime]]] = {}
        for name in ("load_rows", "insert_rows", "upsert_rows", "delete_rows", "insert_past"):
            patch.setattr(tables, name, getattr(self, name))

    async def load_rows(self, _db: Any, table: Table, keys: list[Key]) -> dict[Key, tables.Versioned]:
        rows = self.rows.get(table.name, {})
        return {key: rows[key] for key in keys if key in rows}

    async def insert_rows(self, _db: Any, table: Table, rows: list[tables.Versioned]) -> None:
        for row, since in rows:
            key = table.key_of(row)
            assert key not in self.rows.setdefault(table.name, {})
            self.rows[table.name][key] = (row, since)

    async def upsert_rows(self, _db: Any, table: Table, rows: list[tables.Versioned]) -> None:
        self.rows.setdefault(table.name, {}).update({table.key_of(row): (row, since) for row, since in rows})

    async def delete_rows(self, _db: Any, table: Table, keys: list[Key]) -> None:
        for key in keys:
            del self.rows[table.name][key]

    async def insert_past(self, _db: Any, table: Table, versions: list[tuple[Row, datetime, datetime]]) -> None:
        self.past.setdefault(table.name, []).extend(versions)

    def as_of(self, projection: Projection, time: datetime) -> Tables:
        """What a query sees."""
        found: Tables = {}
        for table in projection.tables:
            rows = [row for row, since in self.rows.get(table.name, {}).values() if since <= time]
            rows += [row for row, since, until in self.past.get(table.name, ()) if since <= time < until]
            found[table.name] = {table.key_of(row): row for row in rows}
            assert len(found[table.name]) == len(rows), f"{table.name} has a row twice as of {time}"
        return found


def folded(projection: Projection, history: Sequence[Recorded]) -> Tables:
    """The rows after a history, and nothing else."""
    rows = HeldRows(projection)
    for recorded in history:
        projection.project(recorded, rows)
    return rows.tables


def spread(history: Sequence[Recorded]) -> list[Recorded]:
    """The history with other times: two events of a place at one time, then the next two a second later."""
    begun: Counter[tuple[str, int]] = Counter()
    found: list[Recorded] = []
    for recorded in history:
        place = (recorded.position.topic, recorded.position.partition)
        time = BEGINNING + timedelta(seconds=begun[place] // 2)
        begun[place] += 1
        found.append(recorded._replace(meta=recorded.meta._replace(time=time)))
    return found


def times(history: Sequence[Recorded]) -> list[datetime]:
    """Of its events, each once."""
    return sorted({recorded.meta.time for recorded in history})


def batches(history: Sequence[Recorded], dice: random.Random, most: int) -> Iterator[Sequence[Recorded]]:
    """The history in pieces of random size."""
    start = 0
    while start < len(history):
        size = dice.randint(1, most)
        yield history[start : start + size]
        start += size


def stored(
    projection: Projection,
    history: Sequence[Recorded],
    patch: pytest.MonkeyPatch,
    *,
    most: int,
    hold: int = 0,
    empty: bool = False,
) -> Stored:
    """The tables that a fold of the history leaves, read in batches of up to `most` events."""
    found, dice = Stored(patch), random.Random(len(history))
    patch.setattr(folding, "CACHE_ROWS", 2)
    fold = Fold(projection, hold=hold, empty=empty)

    async def write() -> None:
        for batch in batches(history, dice, most):
            await fold.apply(None, batch)  # type: ignore[arg-type]
        await fold.flush(None)  # type: ignore[arg-type]

    asyncio.run(write())
    return found


def check(projection: Projection, history: Sequence[Recorded]) -> None:
    """As of the time of every event, and with batches of any size, the rows are those of the events up to then."""
    expected = {
        time: folded(projection, [each for each in history if each.meta.time <= time]) for time in times(history)
    }
    for options in ({"most": 1}, {"most": 4}, {"most": len(history) or 1}, {"most": 4, "hold": 7, "empty": True}):
        with pytest.MonkeyPatch.context() as patch:
            found = stored(projection, history, patch, **options)  # type: ignore[arg-type]
        for time, rows in expected.items():
            assert found.as_of(projection, time) == rows, f"as of {time}, with {options}"
