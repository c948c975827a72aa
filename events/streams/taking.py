"""Applies the pieces of a stream to its states, batch by batch, and tracks held and overdue records.

Knows no consumer, no position and no transaction.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from events.log.wire import Raw
from events.process import faults
from events.projections.tables import Db
from events.streams.stream import AnyStream, Unusable

REMEMBERED = 20_000
"""States kept in memory besides those in use; up to twice as many between two clean-ups."""

MOST_HELD = 64 << 20
"""About the most bytes of records that all states hold together; beyond it, the longest waits are given up. Stopped
partitions are not affected, so each of them may hold as many bytes in addition."""
OVERHEAD = 4096
"""Overhead of a held record in bytes, in addition to its value."""


class Item(NamedTuple):
    """A record on its way into the tables."""

    raw: Raw
    key: Any = None
    piece: Any = None
    """None: only the position moves behind this record."""
    came: float = 0.0
    """Monotonic seconds."""

    @property
    def partition(self) -> int:
        number: int = self.raw.partition
        return number

    @property
    def offset(self) -> int:
        number: int = self.raw.offset
        return number

    @property
    def weight(self) -> int:
        """Bytes that it counts while it is held."""
        return len(self.raw.value or b"") + OVERHEAD


class Late(NamedTuple):
    """A state for which `overdue` is called."""

    key: Any
    partition: int
    until: float
    """`overdue` is called only if the state is due by this time (monotonic seconds)."""


@dataclass(slots=True)
class Taken:
    """The changes to write."""

    chunks: list[Any] = field(default_factory=list)
    states: dict[Any, Any] = field(default_factory=dict)
    """Key → state, for the states that returned the chunks."""
    unusable: list[tuple[Raw, str]] = field(default_factory=list)
    """Records that the stream does not take, and why."""


class KeyStates:
    """The states of a stream's keys in one process."""

    def __init__(self, stream: AnyStream) -> None:
        self._stream = stream
        self._states: dict[Any, Any] = {}
        self._waiting: dict[Any, dict[int, Item]] = {}
        """Key → offset → held record, for the states that hold any."""
        self._due: dict[Any, float] = {}
        """Key → due time, for those states."""
        self._weight = 0
        """Bytes of all held records."""

    def forget(self) -> None:
        """Drop all states: they contain changes of a failed transaction, or another process moved the positions."""
        self._states.clear()
        self._waiting.clear()
        self._due.clear()
        self._weight = 0

    @property
    def held(self) -> list[Item]:
        """All held records, in the order in which they came."""
        items = (item for held in self._waiting.values() for item in held.values())
        return sorted(items, key=lambda item: (item.came, item.offset))

    def due(self, now: float) -> dict[int, float]:
        """Partition → the latest due time among its states that are due."""
        found: dict[int, float] = {}
        for key, due in self._due.items():
            if due <= now:
                partition = self._partition_of(key)
                found[partition] = max(due, found.get(partition, due))
        return found

    def late(self, now: float, read_to: Callable[[int], float]) -> list[Late]:
        """The states whose wait is over: because it was long enough, or because too much is held.

        `read_to`: partition → the time up to which everything in the log is read. A due state is late only if a piece
        that came in time would have been read by now.
        """
        found: list[Late] = []
        kept: list[tuple[float, int, Late]] = []
        excess = self._weight - MOST_HELD
        for key, due in self._due.items():
            partition = self._partition_of(key)
            if due <= now and read_to(partition) >= due:
                found.append(Late(key, partition, now))
            elif excess > 0:
                kept.append((due, len(kept), Late(key, partition, math.inf)))
        heapq.heapify(kept)
        while kept and excess > 0:
            late = heapq.heappop(kept)[2]
            excess -= sum(item.weight for item in self._waiting[late.key].values())
            found.append(late)
        return found

    def _partition_of(self, key: Any) -> int:
        """The partition of a state that holds records; all records of a key are in one."""
        return next(iter(self._waiting[key].values())).partition

    async def take(self, db: Db, items: Sequence[Item], overdue: Sequence[Late], now: float) -> Taken:
        """Take these records in order, then the overdue ones. After an error the states are unusable."""
        stream, taken = self._stream, Taken()
        items = [item for item in items if item.piece is not None]
        states = await self._known(db, [*(item.key for item in items), *(late.key for late in overdue)])
        await stream.prepare(db, [(states[item.key], item.piece) for item in items])
        for item in items if faults.armed() else ():
            faults.raising(faults.IN_TAKE, str(item.raw.position))
        for raw, key, piece, came in items:
            state = states[key]
            try:
                chunks = stream.take(state, piece, came)
            except Unusable as error:
                taken.unusable.append((raw, str(error)))
                continue
            if chunks:
                taken.chunks += chunks
                taken.states[key] = state
        for late in overdue:
            state = states[late.key]
            if (due := stream.due(state)) is None or due > late.until:
                continue  # the missing record has come, or the held record was not taken again
            if chunks := stream.overdue(state, now):
                taken.chunks += chunks
                taken.states[late.key] = state
        self._note(states, items)
        return taken

    def _note(self, states: Mapping[Any, Any], items: Sequence[Item]) -> None:
        """Note which of these records the states hold now, and their due times."""
        holding = {key: held for key, state in states.items() if (held := self._stream.held(state))}
        known = {key: dict(self._waiting.get(key, {})) for key in holding}
        for item in items if holding else ():
            if item.key in holding:
                known[item.key].setdefault(item.offset, item)
        for key, state in states.items():
            self._weight -= sum(item.weight for item in self._waiting.pop(key, {}).values())
            self._due.pop(key, None)
            if key in holding:
                self._waiting[key] = {offset: known[key][offset] for offset in holding[key]}
                self._weight += sum(item.weight for item in self._waiting[key].values())
                if (due := self._stream.due(state)) is not None:
                    self._due[key] = due

    async def _known(self, db: Db, keys: Iterable[Any]) -> dict[Any, Any]:
        """The states of these keys, in their order, from memory or from the tables."""
        wanted = dict.fromkeys(keys)
        if missing := [key for key in wanted if key not in self._states]:
            self._states.update(await self._stream.load(db, missing))
        known = {key: self._states[key] for key in wanted}
        if len(self._states) > 2 * REMEMBERED:
            self._evict(wanted)
        return known

    def _evict(self, used: Iterable[Any]) -> None:
        needed = {*used, *self._waiting}
        others = [key for key in self._states if key not in needed]
        for key in others[: len(self._states) - REMEMBERED]:
            del self._states[key]
