"""Storing a stream's records: rows and positions in one transaction, and which record is to blame when that fails.

Knows the database and no consumer.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
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

CHUNKS: Place = ("chunks", 0)
"""Where the number of the last chunk is kept, among the positions."""
_MAKING_SECONDS = 6 * 3600.0
"""Longest time in which the tables are brought to the present form: an index of many millions of rows takes a while,
and one that was not finished begins anew."""

_POSITIONS = """
create schema if not exists {schema};
set local search_path to {schema};
create table if not exists positions (
  context text, partition int, off bigint not null, epoch bigint not null, primary key (context, partition))
"""


class _Tried(Exception):
    """What was tried would have been stored; its transaction is undone by this."""


class Storing:
    """What one process knows of a stream's tables, from the moment it opened them until something failed."""

    def __init__(
        self, stream: AnyStream, pool: asyncpg.Pool, schema: str, stopped: Callable[[Raw, Exception], None]
    ) -> None:
        """`schema`: its name, not quoted. `stopped` is told of a record at which its partition stands from now on."""
        self.schema = quoted(schema)
        self.standing: dict[int, int] = {}
        """Partitions that stand still, and the offset of the record at which."""
        self.busy = False
        """A transaction is under way, or has failed."""
        self._stream = stream
        self._place = stream.place or stream.topic.name
        self._pool = pool
        self._stopped = stopped
        self._states = KeyStates(stream)
        self._positions: dict[Place, ReaderPosition] = {}
        """As stored."""
        self._read_to: dict[int, int] = {}
        """Partition → the offset behind what was taken, held or stored."""
        self._pending: list[Item] = []
        """Held records that a failed transaction has dropped from memory: the next one takes them first."""
        self._last = 0
        """The number of the chunk that was stored last."""

    async def open(self, *, make: bool = True) -> None:
        """Stand where the tables stand; `make` them first, where it is not known that they are there."""
        async with self._pool.acquire() as db, db.transaction():
            if make:  # what changes tables waits for all who use them, and they for it
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
        """Whether records have to be taken again."""
        return bool(self._pending)

    def holding(self) -> dict[int, int]:
        """Partitions with records that were read, and are not stored yet, and the offset of the first of them."""
        found: dict[int, int] = {}
        for item in self._held():
            found[item.partition] = min(item.offset, found.get(item.partition, item.offset))
        return found

    def due(self) -> dict[int, float]:
        """See `KeyStates.due`; of partitions that don't stand."""
        due = self._states.due(time.monotonic())
        return {partition: moment for partition, moment in due.items() if partition not in self.standing}

    def late(self, read_to: Callable[[int], float]) -> list[Late]:
        """See `KeyStates.late`; of partitions that don't stand: what is waited for may lie behind the record there."""
        late = self._states.late(time.monotonic(), read_to)
        return [each for each in late if each.partition not in self.standing]

    def stands_before(self, raw: Raw) -> bool:
        """Whether the partition stands at this record, or at one before it."""
        return bool(raw.offset >= self.standing.get(raw.partition, raw.offset + 1))

    def stop_at(self, raw: Raw, error: Exception) -> None:
        """Stand at a record until `go_on`."""
        self.standing[raw.partition] = raw.offset
        self._pending = [item for item in self._pending if not self.stands_before(item.raw)]
        self._stopped(raw, error)

    def go_on(self, partition: int) -> None:
        """The partition is read again from where it is stored."""
        self.standing.pop(partition, None)
        self._read_to[partition] = self.position(partition)

    def read_from(self, partition: int) -> int:
        """The next offset to be read."""
        return self._read_to.get(partition, self.position(partition))

    async def store(self, items: Sequence[Item], overdue: Sequence[Late]) -> int:
        """Store records, then what is overdue; how many chunks that gave. Stops at those that can't be stored.

        Raises PositionsMoved when another process has stored some of it, and errors of the connection: then this object
        is of no more use.
        """
        before = self._last
        await self._bisect(items, overdue)
        return self._last - before

    async def tidy(self) -> bool:
        """See `Stream.tidy`."""
        async with self._transaction() as db:
            # Whoever stores chunks moves this row first: so it waits for this, and this for it.
            stood = await db.fetchval("select off from positions where context = $1 for update", CHUNKS[0])
            return stood is not None and await self._stream.tidy(db)

    async def expire(self, expiring: Expiring, age: timedelta) -> int:
        """See `events.streams.retention.expire`."""
        async with self._transaction() as db:
            return await expire(db, expiring, age)

    async def _bisect(self, items: Sequence[Item], overdue: Sequence[Late]) -> None:
        """What is to blame for an error is found by halves."""
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
            raise error  # no record's
        await self._isolate(suspects, error)

    async def _isolate(self, suspects: Sequence[Item], error: Exception) -> None:
        """Records can't be stored together: stop at the one that can't be stored by itself.

        Each is tried alone, in a transaction that is not kept. Where each can be stored so, the newest is taken for it.
        """
        for suspect in suspects if len(suspects) > 1 else ():
            if (found := await self._try_alone(suspect)) is not None:
                self.stop_at(suspect.raw, found)
                return
        self.stop_at(suspects[-1].raw, error)

    async def _try_alone(self, item: Item) -> Exception | None:
        """The error, if a record can't be stored; what its state waits for is given up for that."""
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
        """`_write`; the error, if what should be stored is to blame for one. All is then as before."""
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
        """One transaction, in which pending records are taken before these."""
        read = {**self._read_to, **{item.partition: item.raw.last + 1 for item in items}}
        self.busy = True
        try:
            async with self._transaction() as db:
                taken = await self._states.take(db, [*self._pending, *items], overdue, time.monotonic())
                positions, last = await self._put(db, taken, self._reached(read, self._states.held))
        except BaseException:
            self._states.forget()  # they were changed for a transaction that was not
            raise
        self.busy = False
        self._positions, self._read_to, self._pending, self._last = positions, read, [], last
        self._stream.stored(taken.chunks)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Db]:
        """A transaction on the tables. It holds none of them while it waits for one that swaps them, which waits for
        all of them after it has locked the positions."""
        async with self._pool.acquire() as db, db.transaction():
            await db.execute(
                f"set local search_path to {self.schema}; lock table {self.schema}.positions in row exclusive mode"
            )
            yield db

    async def _put(
        self, db: Db, taken: Taken, reached: Mapping[Place, ReaderPosition]
    ) -> tuple[dict[Place, ReaderPosition], int]:
        """Write what was taken, and positions; all positions, and the number of the last chunk, as they are then."""
        # Moves with every chunk, so that two processes never store at once, not even while positions stand.
        last = self._last + len(taken.chunks)
        positions = {**self._positions, **reached, CHUNKS: ReaderPosition(last)}
        await write_positions(db, self._positions, positions)
        faults.point(faults.MID_STREAM)
        if taken.chunks:
            await self._stream.store(db, range(self._last + 1, last + 1), taken.chunks, taken.states)
        return positions, last

    def _reached(self, read: dict[int, int], held: Iterable[Item]) -> dict[Place, ReaderPosition]:
        """The positions behind what was read, but before what is held and where a partition stands: a restart reads
        that again."""
        before = dict(self.standing)
        for item in held:
            before[item.partition] = min(item.offset, before.get(item.partition, item.offset))
        reached = {n: min(offset, before.get(n, offset)) for n, offset in read.items()}
        return {(self._place, n): ReaderPosition(offset) for n, offset in reached.items()}

    def _held(self) -> list[Item]:
        return [*self._pending, *self._states.held]


def of_a_record(error: Exception) -> bool:
    """Whether what should be stored is to blame, and not a connection or another process."""
    return not isinstance(error, OSError | KafkaError | PositionsMoved) and of_a_value(error)


def _halves(items: Sequence[Item], overdue: Sequence[Late]) -> Iterator[tuple[Sequence[Item], Sequence[Late]]]:
    """All of it in two steps, in order."""
    middle = (len(items) + len(overdue)) // 2
    late = max(0, middle - len(items))
    yield items[:middle], overdue[:late]
    yield items[middle:], overdue[late:]
