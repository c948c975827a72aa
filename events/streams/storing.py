"""Storing a stream's records: rows and positions in one transaction, and which record is to blame when that fails.

Knows the database and no consumer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError

from events.log.positions import Place, ReaderPosition
from events.log.wire import Raw
from events.process import faults
from events.projections.positions import PositionsMoved, of_a_value, write_positions
from events.projections.tables import quoted
from events.streams.stream import AnyStream
from events.streams.taking import Item, Taker

_CHUNKS: Place = ("chunks", 0)
"""Where the number of the last chunk is kept, among the positions."""
_POSITIONS = """
create schema if not exists {schema};
set local search_path to {schema};
create table if not exists positions (
  context text, partition int, off bigint not null, epoch bigint not null, primary key (context, partition))
"""


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
        self._taker = Taker(stream)
        self._positions: dict[Place, ReaderPosition] = {}
        """As stored."""
        self._read_to: dict[int, int] = {}
        """Partition → the offset behind what was taken, held or stored."""
        self._pending: list[Item] = []
        """Held records that a failed transaction has dropped from memory: the next one takes them first."""
        self._last = 0
        """The number of the chunk that was stored last."""

    async def open(self) -> None:
        """Make the tables, and stand where they stand."""
        async with self._pool.acquire() as db, db.transaction():
            await db.execute("select pg_advisory_xact_lock(hashtext($1))", self.schema)
            await db.execute(_POSITIONS.format(schema=self.schema))
            for statement in self._stream.tables:
                await db.execute(statement)
            rows = await db.fetch("select context, partition, off from positions")
            self._positions = {(row["context"], row["partition"]): ReaderPosition(row["off"]) for row in rows}
            known = self._positions.get(_CHUNKS)
            self._last = await self._stream.newest(db) if known is None else known.offset

    def position(self, partition: int) -> int:
        """The next offset to be stored."""
        return self._positions.get((self._place, partition), ReaderPosition()).offset

    @property
    def unfinished(self) -> bool:
        """Whether records have to be taken again."""
        return bool(self._pending)

    @property
    def holding(self) -> set[int]:
        """Partitions with records that were read, and are not stored yet."""
        return {item.partition for item in self._held()}

    def overdue(self) -> list[Any]:
        """The keys whose states waited for long enough."""
        return self._taker.overdue(time.monotonic())

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

    async def store(self, items: Sequence[Item], overdue: Sequence[Any]) -> int:
        """Store records, then what is overdue; how many chunks that gave. Stops at those that can't be stored.

        Raises PositionsMoved when another process has stored some of it, and errors of the connection: then this object
        is of no more use.
        """
        before = self._last
        await self._divided(items, overdue)
        return self._last - before

    async def _divided(self, items: Sequence[Item], overdue: Sequence[Any]) -> None:
        """What is to blame for an error is found by halves."""
        if (error := await self._try(items, overdue)) is None:
            return
        if len(items) + len(overdue) > 1:
            for half, late in _halves(items, overdue):
                left = [item for item in half if not self.stands_before(item.raw)]
                if left or late:
                    await self._divided(left, late)
        elif items:
            await self._alone(items[0], error)
        elif blamed := [item for item in self._pending if item.key in overdue or not overdue]:
            self.stop_at(blamed[0].raw, error)
        else:
            raise error  # no record's

    async def _alone(self, item: Item, error: Exception) -> None:
        """A record can't be stored together with those that its state holds. Find out which of them is to blame: it is
        stored without them, then each of them."""
        mine = [each for each in self._pending if each.key == item.key]
        if mine:
            others = [each for each in self._pending if each.key != item.key]
            found = await self._try([item], first=others)
        else:
            found = error
        if found is not None:
            self.stop_at(item.raw, found)
            return
        for each in mine:
            if each in self._pending and (found := await self._try(first=[each])) is not None:
                self.stop_at(each.raw, found)

    async def _try(
        self, items: Sequence[Item] = (), overdue: Sequence[Any] = (), first: Sequence[Item] | None = None
    ) -> Exception | None:
        """`_write`; the error, if what should be stored is to blame for one. All is then as before."""
        held = self._held()
        try:
            await self._write(items, overdue, self._pending if first is None else first)
        except (OSError, KafkaError, PositionsMoved):
            raise
        except Exception as error:
            if not of_a_value(error):
                raise
            self._pending, self.busy = held, False
            return error
        return None

    async def _write(self, items: Sequence[Item], overdue: Sequence[Any], first: Sequence[Item]) -> None:
        """One transaction. `first`: those of the pending records that are taken before `items`."""
        left = [item for item in self._pending if item not in first]
        read = {**self._read_to, **{item.partition: item.raw.last + 1 for item in items}}
        self.busy = True
        try:
            async with self._pool.acquire() as db, db.transaction():
                await db.execute(f"set local search_path to {self.schema}")
                taken = await self._taker.take(db, [*first, *items], overdue, time.monotonic())
                positions = self._reached(read, [*self._taker.held, *left])
                # Moves with every chunk, so that two processes never store at once, not even while positions stand.
                last = self._last + len(taken.chunks)
                positions[_CHUNKS] = ReaderPosition(last)
                await write_positions(db, self._positions, positions)
                faults.point(faults.MID_STREAM)
                if taken.chunks:
                    await self._stream.store(db, range(self._last + 1, last + 1), taken.chunks, taken.states)
        except BaseException:
            self._taker.forget()  # they were changed for a transaction that was not
            raise
        self.busy = False
        self._positions, self._read_to, self._pending, self._last = positions, read, left, last
        self._stream.stored(taken.chunks)

    def _reached(self, read: dict[int, int], held: Sequence[Item]) -> dict[Place, ReaderPosition]:
        """The positions behind what was read, but before what is held and where a partition stands: a restart reads
        that again."""
        before = dict(self.standing)
        for item in held:
            before[item.partition] = min(item.offset, before.get(item.partition, item.offset))
        reached = {n: min(offset, before.get(n, offset)) for n, offset in read.items()}
        return self._positions | {(self._place, n): ReaderPosition(offset) for n, offset in reached.items()}

    def _held(self) -> list[Item]:
        return [*self._pending, *self._taker.held]


def _halves(items: Sequence[Item], overdue: Sequence[Any]) -> Iterator[tuple[Sequence[Item], Sequence[Any]]]:
    """All of it in two steps, in order."""
    middle = (len(items) + len(overdue)) // 2
    late = max(0, middle - len(items))
    yield items[:middle], overdue[:late]
    yield items[middle:], overdue[late:]
