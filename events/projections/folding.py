"""Folding a batch of events into a projection's rows, with a cache, and keeping what the rows were
(`events.projections.past`). Used live and in rebuilds alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
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


class SharedRow(Exception):
    """A row depends on events of two places: a defect of the projection. See `Projection`."""


_NEVER = datetime.min.replace(tzinfo=UTC)


class Held:
    """A row in memory, or that there is none."""

    __slots__ = ("place", "row", "since", "stored")

    def __init__(self, row: Row | None = None, since: datetime = _NEVER) -> None:
        self.row = row
        self.since = since
        """The time of the event that made it so."""
        self.stored = row is not None
        """Whether the table has a row of the key."""
        self.place: tuple[str, int] | None = None
        """Topic and partition of the events that it depends on, once one has used it."""


Written = tuple[Table, Mapping[Key, Held]]
"""The rows of a table that were written."""


class _Cache:
    """What is in memory of one table."""

    __slots__ = ("changed", "old", "past", "rows", "seen", "table")

    def __init__(self, table: Table, empty: bool) -> None:
        self.table = table
        self.rows: dict[Key, Held] = {}
        self.old: dict[Key, Held] = {}
        """Rows that were not used since `rows` was begun anew; they go when it is next."""
        self.changed: dict[Key, Held] = {}
        self.past: list[tuple[Row, datetime, datetime]] = []
        """What rows were, since when and until when: not written yet."""
        self.seen = bytearray(_SEEN + 1) if empty else None
        """Marks the hashes of keys that the table may have; None: it may have any."""

    def age(self) -> None:
        """Forget the rows that were not used for longest. Only when none is changed."""
        if len(self.rows) > CACHE_ROWS:
            self.old, self.rows = self.rows, {}


class Fold:
    """The rows of a batch: loaded first, changed by the projection, then written."""

    def __init__(self, projection: Projection, *, empty: bool = False, hold: int = 0) -> None:
        """`empty`: the tables hold nothing yet, and only this writes to them. `hold`: so many changed rows may wait to
        be written, until `flush`, which spares writing a row for each batch."""
        self._projection = projection
        self._hold = hold
        self._caches = {table.name: _Cache(table, empty) for table in projection.tables}
        self._time = _NEVER
        self._place: tuple[str, int] = ("", 0)
        """Of the event that is folded."""
        self.written: list[Written] = []
        """What the last `apply` or `flush` has written."""

    # What a projection sees

    def get(self, table: Table, key: Key) -> Row | None:
        try:
            held = self._caches[table.name].rows[key]
        except KeyError:
            raise UndeclaredRow(f"{table.name}{key} is read but not named by `touches`") from None
        if held.place is not self._place:
            self._use(held, table, key)
        return held.row

    def put(self, table: Table, row: Row) -> None:
        self._change(table, table.key_of(row), row)

    def delete(self, table: Table, key: Key) -> None:
        self._change(table, key, None)

    def _change(self, table: Table, key: Key, row: Row | None) -> None:
        cache = self._caches[table.name]
        held = cache.rows.get(key)
        if held is None:
            raise UndeclaredRow(f"{table.name}{key} is written but not named by `touches`")
        if held.place is not self._place:
            self._use(held, table, key)
        time = self._time
        if held.row is None:
            held.since = time
        elif held.since < time:
            cache.past.append((held.row, held.since, time))
            held.since = time
        held.row = row
        cache.changed[key] = held

    def _use(self, held: Held, table: Table, key: Key) -> None:
        """Note, once for a row in memory, what place it depends on."""
        if held.place is None or held.place == self._place:
            held.place = self._place
            return
        (one, first), (other, second) = held.place, self._place
        raise SharedRow(
            f"{table.name}{key} depends on events of {one}/{first} and of {other}/{second}; give each place rows of "
            f"its own, and put them together in the query"
        )

    # What the runner does

    async def apply(self, db: Db, batch: Sequence[Recorded]) -> None:
        """Fold the batch and write the changed rows (within the caller's transaction). The log's own events (refusals,
        markers) are history only: projections don't see them. Raises Unfoldable; of no more use after an error."""
        self.written = []
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
            position = recorded.position
            if self._place[1] != position.partition or self._place[0] != position.topic:
                self._place = (position.topic, position.partition)
            self._time = recorded.meta.time
            try:
                project(recorded, self)
            except Exception as error:
                raise Unfoldable(recorded, error) from error
        for cache in self._caches.values():
            past, cache.past = cache.past, []
            await tables.insert_past(db, cache.table, past)  # of no more use here, unlike rows that may change again
        if sum(len(cache.changed) for cache in self._caches.values()) > self._hold:
            await self.flush(db)

    async def flush(self, db: Db) -> None:
        """Write what has changed."""
        self.written = []
        for cache in self._caches.values():
            if cache.changed:
                await self._write(db, cache)
            cache.age()

    async def _write(self, db: Db, cache: _Cache) -> None:
        table, changed = cache.table, cache.changed
        deletes: list[Key] = []
        puts: list[tables.Versioned] = []
        new: list[tables.Versioned] = []
        for key, held in changed.items():
            if held.row is None:
                if held.stored:
                    deletes.append(key)
                    held.stored = False
            elif held.stored:
                puts.append((held.row, held.since))
            else:
                new.append((held.row, held.since))
                held.stored = True
                if cache.seen is not None:
                    cache.seen[hash(key) & _SEEN] = 1
        cache.changed = {}
        self.written.append((table, changed))
        await tables.delete_rows(db, table, deletes)
        await tables.upsert_rows(db, table, puts)
        await tables.insert_rows(db, table, new)

    async def _load(self, db: Db, places: Iterable[tuple[Table, Key]]) -> None:
        """Have the rows of these places in memory, those that there are."""
        missing: dict[str, dict[Key, None]] = {}
        caches = self._caches
        for table, key in places:
            cache = caches[table.name]
            rows = cache.rows
            if key in rows:
                continue
            if key in cache.old:
                rows[key] = cache.old.pop(key)
            elif cache.seen is not None and not cache.seen[hash(key) & _SEEN]:
                rows[key] = Held()
            else:
                missing.setdefault(table.name, {})[key] = None
        for name, keys in missing.items():
            cache = caches[name]
            found = await tables.load_rows(db, cache.table, list(keys))
            cache.rows.update((key, Held(*found[key]) if key in found else Held()) for key in keys)


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
