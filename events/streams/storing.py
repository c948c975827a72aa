"""Stores a stream's records: rows and positions in one transaction. If that fails, it finds the record that caused it.

Knows the database and no consumer.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from aiokafka.errors import KafkaError

from events.log.positions import Place, ReaderPosition
from events.log.wire import Raw
from events.process import faults
from events.projections.positions import PositionsMoved, of_a_value, write_positions
from events.projections.tables import Db, quoted
from events.streams.retention import Expiring, expire
from events.streams.stream import AnyStream
from events.streams.taking import Item, KeyStates, Late, Taken

MOST_BYTES = 16 << 20
"""Most bytes of the records that one transaction takes, but for a single record that is larger."""
MOST_COUNTED = 200_000
"""Most of what `Stream.count` counts in them. Taking them holds the process's loop, for a second at most."""

CHUNKS: Place = ("chunks", 0)
"""The row of `positions` that has the number of the last chunk."""
_MAKING_SECONDS = 6 * 3600.0
"""Longest time for a migration of the tables: an index of many millions of rows takes a while, and an interrupted one
starts from the beginning."""

_POSITIONS = """
create schema if not exists {schema};
set local search_path to {schema};
create table if not exists positions (
  context text, partition int, off bigint not null, epoch bigint not null, primary key (context, partition))
"""


class _Tried(Exception):
    """Rolls back a trial transaction that succeeded."""


class Storing:
    """The state of one process on a stream's tables, from `open` until an error."""

    def __init__(
        self,
        stream: AnyStream,
        pool: asyncpg.Pool,
        schema: str,
        stopped: Callable[[Raw, Exception], None],
        unusable: Callable[[Sequence[tuple[Raw, str]]], Awaitable[None]],
    ) -> None:
        """`schema`: the name, not quoted. `stopped`: called with the record at which a partition stops. `unusable`:
        called with records that the stream does not take, and why, before their positions move."""
        self.schema = quoted(schema)
        self.standing: dict[int, int] = {}
        """Stopped partitions → the offset of the record at which each stopped."""
        self.busy = False
        """Whether a transaction is under way, or has failed."""
        self._stream = stream
        self._place = stream.place or stream.topic.name
        self._pool = pool
        self._stopped = stopped
        self._unusable = unusable
        self._states = KeyStates(stream)
        self._positions: dict[Place, ReaderPosition] = {}
        """As stored."""
        self._read_to: dict[int, int] = {}
        """Partition → the offset behind the last record that was taken, held or stored."""
        self._pending: list[Item] = []
        """Held records that a failed transaction has dropped from memory. The next transaction takes them first."""
        self._last = 0
        """The number of the chunk that was stored last."""

    async def open(self, *, make: bool = True) -> None:
        """Load the positions. `make`: create or migrate the tables first."""
        async with self._pool.acquire() as db, db.transaction():
            if make:  # a migration waits for all transactions on the tables, and they wait for it
                await db.execute("select pg_advisory_xact_lock(hashtext($1))", self.schema, timeout=_MAKING_SECONDS)
                await db.execute(_POSITIONS.format(schema=self.schema))
                for statement in self._stream.tables:
                    await db.execute(statement, timeout=_MAKING_SECONDS)
            await db.execute(f"set local search_path to {self.schema}")
            rows = await db.fetch("select context, partition, off from positions")
            self._positions = {(row["context"], row["partition"]): ReaderPosition(row["off"]) for row in rows}
            known = self._positions.get(CHUNKS)
            self._last = await self._stream.newest(db) if known is None else known.offset

    def position(self, partition: int) -> int:
        """The next offset to be stored."""
        return self._positions.get((self._place, partition), ReaderPosition()).offset

    @property
    def last(self) -> int:
        """The number of the chunk that was stored last."""
        return self._last

    @property
    def unfinished(self) -> bool:
        """Whether records must be taken again after a failed transaction."""
        return bool(self._pending)

    def holding(self) -> dict[int, int]:
        """Partition → the offset of the first record that was read and is not stored yet."""
        found: dict[int, int] = {}
        for item in self._held():
            found[item.partition] = min(item.offset, found.get(item.partition, item.offset))
        return found

    def due(self) -> dict[int, float]:
        """See `KeyStates.due`; without stopped partitions."""
        due = self._states.due(time.monotonic())
        return {partition: moment for partition, moment in due.items() if partition not in self.standing}

    def late(self, read_to: Callable[[int], float]) -> list[Late]:
        """See `KeyStates.late`; without stopped partitions, since the missing records may come behind the stop."""
        late = self._states.late(time.monotonic(), read_to)
        return [each for each in late if each.partition not in self.standing]

    def stands_before(self, raw: Raw) -> bool:
        """Whether the partition is stopped at this record, or at one before it."""
        return bool(raw.offset >= self.standing.get(raw.partition, raw.offset + 1))

    def stop_at(self, raw: Raw, error: Exception) -> None:
        """Stop the partition of a record until `go_on`."""
        self.standing[raw.partition] = raw.offset
        self._pending = [item for item in self._pending if not self.stands_before(item.raw)]
        self._stopped(raw, error)

    def go_on(self, partition: int) -> None:
        """Remove the stop of a partition. It is read again from its stored position."""
        self.standing.pop(partition, None)
        self._read_to[partition] = self.position(partition)

    def read_from(self, partition: int) -> int:
        """The next offset to be read."""
        return self._read_to.get(partition, self.position(partition))

    async def store(self, items: Sequence[Item], overdue: Sequence[Late]) -> int:
        """Store records, then overdue ones. Returns the number of chunks. Stops a partition at a record that fails.

        Raises PositionsMoved if another process has stored some of them, and errors of the connection. This object is
        unusable after that.
        """
        before = self._last
        parts = list(parts_of(items, self._stream))
        for number, part in enumerate(parts, start=1):
            part = [item for item in part if not self.stands_before(item.raw)]
            late = [each for each in overdue if each.partition not in self.standing] if number == len(parts) else []
            if part or late or self._pending:
                await self._bisect(part, late)
        return self._last - before

    async def tidy(self) -> bool:
        """See `Stream.tidy`."""
        async with self._transaction() as db:
            # A transaction that stores chunks updates this row first, so this lock excludes it.
            stood = await db.fetchval("select off from positions where context = $1 for update", CHUNKS[0])
            return stood is not None and await self._stream.tidy(db)

    async def expire(self, expiring: Expiring, age: timedelta) -> int:
        """See `events.streams.retention.expire`."""
        async with self._transaction() as db:
            return await expire(db, expiring, age)

    async def _bisect(self, items: Sequence[Item], overdue: Sequence[Late]) -> None:
        """Find the record that causes an error by bisection."""
        if (error := await self._try(items, overdue)) is None:
            return
        if len(items) + len(overdue) > 1:
            for half, late in _halves(items, overdue):
                half = [item for item in half if not self.stands_before(item.raw)]
                late = [each for each in late if each.partition not in self.standing]
                if half or late:
                    await self._bisect(half, late)
            return
        suspects = [each for each in self._pending if not overdue or each.key == overdue[0].key]
        if items:
            suspects = [*(each for each in suspects if each.key == items[0].key), items[0]]
        if not suspects:
            raise error  # no record causes it
        await self._isolate(suspects, error)

    async def _isolate(self, suspects: Sequence[Item], error: Exception) -> None:
        """Stop at the record that can't be stored, of several that can't be stored together.

        Each is tried alone, in a transaction that is rolled back. If each succeeds alone, the newest is stopped at.
        """
        for suspect in suspects if len(suspects) > 1 else ():
            if (found := await self._try_alone(suspect)) is not None:
                self.stop_at(suspect.raw, found)
                return
        self.stop_at(suspects[-1].raw, error)

    async def _try_alone(self, item: Item) -> Exception | None:
        """The error if a record can't be stored alone, without the records that its state waits for; else None."""
        try:
            async with self._transaction() as db:
                late = Late(item.key, item.partition, math.inf)
                taken = await self._states.take(db, [item], [late], time.monotonic())
                await self._put(db, taken, {})
                raise _Tried
        except _Tried:
            return None
        except Exception as error:
            if not of_a_record(error):
                raise
            return error
        finally:
            self._states.forget()

    async def _try(self, items: Sequence[Item], overdue: Sequence[Late]) -> Exception | None:
        """Call `_write`. Returns the error if a record causes one, after undoing everything; else None."""
        held = self._held()
        try:
            await self._write(items, overdue)
        except Exception as error:
            if not of_a_record(error):
                raise
            self._pending, self.busy = held, False
            return error
        return None

    async def _write(self, items: Sequence[Item], overdue: Sequence[Late]) -> None:
        """Take the pending records, then these, in one transaction."""
        read = {**self._read_to, **{item.partition: item.raw.last + 1 for item in items}}
        self.busy = True
        try:
            async with self._transaction() as db:
                taken = await self._states.take(db, [*self._pending, *items], overdue, time.monotonic())
                positions, last = await self._put(db, taken, self._reached(read, self._states.held))
                if taken.unusable:
                    await self._unusable(taken.unusable)
        except BaseException:
            self._states.forget()  # they contain the changes of a transaction that was rolled back
            raise
        self.busy = False
        self._positions, self._read_to, self._pending, self._last = positions, read, [], last
        self._stream.stored(taken.chunks)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Db]:
        """A transaction on the tables. It locks `positions` first: a transaction that swaps the tables does so too, and
        then waits for all tables."""
        async with self._pool.acquire() as db, db.transaction():
            await db.execute(
                f"set local search_path to {self.schema}; lock table {self.schema}.positions in row exclusive mode"
            )
            yield db

    async def _put(
        self, db: Db, taken: Taken, reached: Mapping[Place, ReaderPosition]
    ) -> tuple[dict[Place, ReaderPosition], int]:
        """Write what was taken, and the positions. Returns all positions and the number of the last chunk."""
        # It changes with every chunk, so two processes never store at once, even if no position moves.
        last = self._last + len(taken.chunks)
        positions = {**self._positions, **reached, CHUNKS: ReaderPosition(last)}
        await write_positions(db, self._positions, positions)
        faults.point(faults.MID_STREAM)
        if taken.chunks:
            await self._stream.store(db, range(self._last + 1, last + 1), taken.chunks, taken.states)
        return positions, last

    def _reached(self, read: dict[int, int], held: Iterable[Item]) -> dict[Place, ReaderPosition]:
        """The positions behind what was read, but before held records and before stops: a restart reads those again."""
        before = dict(self.standing)
        for item in held:
            before[item.partition] = min(item.offset, before.get(item.partition, item.offset))
        reached = {n: min(offset, before.get(n, offset)) for n, offset in read.items()}
        return {(self._place, n): ReaderPosition(offset) for n, offset in reached.items()}

    def _held(self) -> list[Item]:
        return [*self._pending, *self._states.held]


def parts_of(items: Sequence[Item], stream: AnyStream) -> Iterator[Sequence[Item]]:
    """What one transaction takes each, in order; one that takes nothing if there is nothing."""
    start, weight, count = 0, 0, 0
    for number, item in enumerate(items):
        counted = 0 if item.piece is None else stream.count(item.piece)
        weight, count = weight + item.weight, count + counted
        if number > start and (weight > MOST_BYTES or count > MOST_COUNTED):
            yield items[start:number]
            start, weight, count = number, item.weight, counted
    yield items[start:]


def of_a_record(error: Exception) -> bool:
    """Whether the content of a record causes the error, not the connection or another process."""
    return not isinstance(error, OSError | KafkaError | PositionsMoved) and of_a_value(error)


def _halves(items: Sequence[Item], overdue: Sequence[Late]) -> Iterator[tuple[Sequence[Item], Sequence[Late]]]:
    """The two halves, in order."""
    middle = (len(items) + len(overdue)) // 2
    late = max(0, middle - len(items))
    yield items[:middle], overdue[:late]
    yield items[middle:], overdue[late:]
