"""Folding a batch of events into a projection's rows, with a cache. Used live, in rebuilds and for `as_of` alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from events.language.common import LogEvent
from events.language.registry import aggregate_of
from events.log.envelope import Recorded
from events.projections import tables
from events.projections.projection import Key, Projection, Row, Table
from events.projections.tables import Db

CACHE_ROWS = 25_000
"""Rows of a table kept in memory between batches: those used since it last had so many, and as many before."""

_SEEN = (1 << 24) - 1
"""Of keys' hashes, so many bits tell which rows an emptied table may have by now: 16 MiB a table."""

_LOG_EVENTS = frozenset(LogEvent.__subclasses__())


class Unfoldable(Exception):
    """An event that the projection raises at; the text says which, and what it raised."""

    def __init__(self, recorded: Recorded, error: Exception) -> None:
        super().__init__(f"{recorded.position}: {recorded.meta.type} does not fold: {type(error).__name__}: {error}")
        self.position = recorded.position


class UndeclaredRow(Exception):
    """A projection used a row that its `touches` did not name: a defect of the projection."""


class _Held:
    """What is in memory of one table."""

    __slots__ = ("changed", "old", "rows", "seen", "stored", "table")

    def __init__(self, table: Table, empty: bool) -> None:
        self.table = table
        self.rows: dict[Key, Row | None] = {}
        self.old: dict[Key, Row | None] = {}
        """Rows that were not used since `rows` was begun anew; they go when it is next."""
        self.changed: dict[Key, Row | None] = {}
        self.stored: set[Key] = set()
        """Of what is in memory, the rows that the table has."""
        self.seen = bytearray(_SEEN + 1) if empty else None
        """Marks the hashes of keys that the table may have; None: it may have any."""

    def age(self) -> None:
        """Forget the rows that were not used for longest. Only when none is changed."""
        if len(self.rows) > CACHE_ROWS:
            self.stored.difference_update(self.old.keys())
            self.old, self.rows = self.rows, {}


class Fold:
    """The rows of a batch: loaded first, changed by the projection, then written."""

    def __init__(self, projection: Projection, *, complete: bool = False, empty: bool = False, hold: int = 0) -> None:
        """`complete`: the tables are known to hold nothing that is not in memory (no loading, no eviction). `empty`:
        they hold nothing yet, and only this writes to them. `hold`: so many changed rows may wait to be written, until
        `flush`, which spares writing a row for each batch."""
        self._projection = projection
        self._complete = complete
        self._hold = hold
        self._held = {table.name: _Held(table, empty) for table in projection.tables}

    # What a projection sees

    def get(self, table: Table, key: Key) -> Row | None:
        try:
            return self._held[table.name].rows[key]
        except KeyError:
            raise UndeclaredRow(f"{table.name}{key} is read but not named by `touches`") from None

    def put(self, table: Table, row: Row) -> None:
        self._change(table, table.key_of(row), row)

    def delete(self, table: Table, key: Key) -> None:
        self._change(table, key, None)

    def _change(self, table: Table, key: Key, row: Row | None) -> None:
        held = self._held[table.name]
        if key not in held.rows:
            raise UndeclaredRow(f"{table.name}{key} is written but not named by `touches`")
        held.rows[key] = held.changed[key] = row

    # What the runner does

    async def apply(self, db: Db, batch: Sequence[Recorded]) -> None:
        """Fold the batch and write the changed rows (within the caller's transaction). The log's own events (refusals,
        markers) are history only: projections don't see them. Raises Unfoldable; of no more use after an error."""
        batch = [recorded for recorded in batch if type(recorded.data) not in _LOG_EVENTS]
        touches = self._projection.touches
        places: list[tuple[Table, Key]] = []
        for recorded in batch:
            try:
                places.extend(touches(recorded))
            except Exception as error:
                raise Unfoldable(recorded, error) from error
        await self._load(db, places)
        project = self._projection.project
        for recorded in batch:
            try:
                project(recorded, self)
            except Exception as error:
                raise Unfoldable(recorded, error) from error
        if sum(len(held.changed) for held in self._held.values()) > self._hold:
            await self.flush(db)

    async def flush(self, db: Db) -> None:
        """Write what has changed."""
        for held in self._held.values():
            if held.changed:
                await self._write(db, held)
            if not self._complete:
                held.age()

    async def _write(self, db: Db, held: _Held) -> None:
        stored, table = held.stored, held.table
        deletes = [key for key, row in held.changed.items() if row is None and key in stored]
        puts = [row for key, row in held.changed.items() if row is not None and key in stored]
        new = {key: row for key, row in held.changed.items() if row is not None and key not in stored}
        held.changed = {}
        stored.difference_update(deletes)
        stored.update(new)
        if held.seen is not None:
            for key in new:
                held.seen[hash(key) & _SEEN] = 1
        await tables.delete_rows(db, table, deletes)
        await tables.upsert_rows(db, table, puts)
        await tables.insert_rows(db, table, list(new.values()))

    async def _load(self, db: Db, places: Iterable[tuple[Table, Key]]) -> None:
        """Have the rows of these places in memory, those that there are."""
        missing: dict[str, dict[Key, None]] = {}
        all_held = self._held
        for table, key in places:
            held = all_held[table.name]
            rows = held.rows
            if key in rows:
                continue
            if key in held.old:
                rows[key] = held.old.pop(key)
            elif self._complete or (held.seen is not None and not held.seen[hash(key) & _SEEN]):
                rows[key] = None
            else:
                missing.setdefault(table.name, {})[key] = None
        for name, keys in missing.items():
            held = all_held[name]
            found = await tables.load_rows(db, held.table, list(keys))
            held.rows.update(dict.fromkeys(keys))
            held.rows.update(found)
            held.stored.update(found)


def history_row(recorded: Recorded, value: bytes) -> tuple[Any, ...]:
    """An event as a row of the history table, in column order."""
    meta = recorded.meta
    return (
        recorded.position.partition,
        recorded.position.offset,
        recorded.position.topic.split(".", 1)[1],
        aggregate_of(recorded.data),
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
        meta.origin,
        recorded.epoch,
        value.decode(),
    )
