"""Folding a batch of events into a projection's rows, with a cache. Used live, in rebuilds and for `as_of` alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from events.language.common import LogEvent
from events.log.envelope import Recorded
from events.runtime import tables
from events.runtime.projection import Key, Projection, Row, Table
from events.runtime.tables import Db

CACHE_ROWS = 50_000
"""Rows kept in memory between batches."""


class UndeclaredRow(Exception):
    """A projection used a row that its `touches` did not name: a defect of the projection."""


class Fold:
    """The rows of a batch: loaded first, changed by the projection, then written."""

    def __init__(self, projection: Projection, *, complete: bool = False, empty: bool = False, hold: int = 0) -> None:
        """`complete`: the tables are known to hold nothing that is not in memory (no loading, no eviction). `empty`:
        they hold nothing yet. `hold`: so many changed rows may wait to be written, until `flush`, which spares writing
        a row for each batch."""
        self._projection = projection
        self._complete = complete
        self._empty = empty
        self._hold = hold
        self._cache: OrderedDict[tuple[str, Key], Row | None] = OrderedDict()
        self._changed: dict[tuple[str, Key], tuple[Table, Row | None]] = {}
        self._allowed: set[tuple[str, Key]] = set()
        self._stored: set[tuple[str, Key]] = set()
        """Of what is in memory, the rows that the tables have."""

    # What a projection sees

    def get(self, table: Table, key: Key) -> Row | None:
        place = (table.name, key)
        if place not in self._allowed:
            raise UndeclaredRow(f"{table.name}{key} is read but not named by `touches`")
        return self._cache.get(place)

    def put(self, table: Table, row: Row) -> None:
        key = tuple(row[name] for name in table.key)
        place = (table.name, key)
        if place not in self._allowed:
            raise UndeclaredRow(f"{table.name}{key} is written but not named by `touches`")
        self._cache[place] = row
        self._changed[place] = (table, row)

    def delete(self, table: Table, key: Key) -> None:
        place = (table.name, key)
        if place not in self._allowed:
            raise UndeclaredRow(f"{table.name}{key} is deleted but not named by `touches`")
        self._cache[place] = None
        self._changed[place] = (table, None)

    # What the runner does

    async def apply(self, db: Db, batch: Sequence[Recorded]) -> None:
        """Fold the batch and write the changed rows (within the caller's transaction). The log's own events (refusals,
        markers) are history only: projections don't see them."""
        batch = [recorded for recorded in batch if not isinstance(recorded.data, LogEvent)]
        touched: list[list[tuple[Table, Key]]] = [list(self._projection.touches(recorded)) for recorded in batch]
        if not self._complete:
            await self._load(db, (place for places in touched for place in places))
        for recorded, places in zip(batch, touched, strict=True):
            self._allowed = {(table.name, key) for table, key in places}
            self._projection.project(recorded, self)
        if len(self._changed) > self._hold:
            await self.flush(db)

    async def flush(self, db: Db) -> None:
        """Write what has changed."""
        self._empty = False
        new: dict[str, tuple[Table, list[Row]]] = {}
        puts: dict[str, tuple[Table, list[Row]]] = {}
        deletes: dict[str, tuple[Table, list[Key]]] = {}
        for place, (table, row) in self._changed.items():
            name, key = place
            if row is None:
                if place in self._stored:
                    deletes.setdefault(name, (table, []))[1].append(key)
                    self._stored.discard(place)
            elif place in self._stored:
                puts.setdefault(name, (table, []))[1].append(row)
            else:
                new.setdefault(name, (table, []))[1].append(row)
                self._stored.add(place)
        self._changed.clear()
        for table, keys in deletes.values():
            await tables.delete_rows(db, table, keys)
        for table, rows in puts.values():
            await tables.upsert_rows(db, table, rows)
        for table, rows in new.values():
            await tables.insert_rows(db, table, rows)
        while not self._complete and len(self._cache) > CACHE_ROWS:
            self._stored.discard(self._cache.popitem(last=False)[0])

    async def _load(self, db: Db, places: Iterable[tuple[Table, Key]]) -> None:
        missing: dict[str, tuple[Table, dict[Key, None]]] = {}
        for table, key in places:
            place = (table.name, key)
            if place in self._cache:
                self._cache.move_to_end(place)
            else:
                missing.setdefault(table.name, (table, {}))[1][key] = None
        for table, keys in missing.values():
            found = {} if self._empty else await tables.load_rows(db, table, list(keys))
            for key in keys:
                place = (table.name, key)
                self._cache[place] = row = found.get(key)
                if row is not None:
                    self._stored.add(place)


def history_row(recorded: Recorded, value: bytes) -> tuple[Any, ...]:
    """An event as a row of the history table, in column order."""
    meta = recorded.meta
    return (
        recorded.position.partition,
        recorded.position.offset,
        recorded.position.topic.split(".", 1)[1],
        meta.subject,
        recorded.key,
        meta.id,
        meta.type,
        meta.time,
        meta.project,
        meta.actor,
        meta.correlation,
        meta.causation,
        recorded.cause,
        recorded.epoch,
        value.decode(),
    )
