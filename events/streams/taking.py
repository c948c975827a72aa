"""Pieces of a stream taken into its states, batch by batch; what of them is held and what is overdue.

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
from events.streams.stream import AnyStream

REMEMBERED = 20_000
"""States that are kept in memory, besides those in use; up to twice as many between two looks."""

MOST_HELD = 64 << 20
"""Bytes of records that all states together hold, about: beyond that those that waited for longest are given up. Those
of a partition that stands are not, so each of these may keep as much besides."""
OVERHEAD = 4096
"""What a held record counts besides the bytes of its value."""


class Item(NamedTuple):
    """A record on its way into the tables."""

    raw: Raw
    key: Any = None
    piece: Any = None
    """None: nothing is taken of this record, only the position moves."""
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
        """What it counts while it is held."""
        return len(self.raw.value or b"") + OVERHEAD


class Late(NamedTuple):
    """A state that is asked for what is overdue."""

    key: Any
    partition: int
    until: float
    """It is asked only if it is due by this time (monotonic seconds)."""


@dataclass(slots=True)
class Taken:
    """What is to be written."""

    chunks: list[Any] = field(default_factory=list)
    states: dict[Any, Any] = field(default_factory=dict)
    """Those that gave the chunks, by key."""


class KeyStates:
    """The states of a stream's keys in one process."""

    def __init__(self, stream: AnyStream) -> None:
        self._stream = stream
        self._states: dict[Any, Any] = {}
        self._waiting: dict[Any, dict[int, Item]] = {}
        """The held records of each state that holds any, by offset."""
        self._due: dict[Any, float] = {}
        """Of those states: when they are due."""
        self._weight = 0
        """Of all held records."""

    def forget(self) -> None:
        """Drop all states: they were changed for a transaction that failed, or the positions are others'."""
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
        """Partition → when the last of its states became due, of those that are."""
        found: dict[int, float] = {}
        for key, due in self._due.items():
            if due <= now:
                partition = self._partition_of(key)
                found[partition] = max(due, found.get(partition, due))
        return found

    def late(self, now: float, read_to: Callable[[int], float]) -> list[Late]:
        """The states that waited for long enough, and those that waited for longest while too much is held.

        `read_to`: of a partition, the time up to which all that was in the log is read. A state that is due is late
        only when what it waits for would have been read, had it come in time.
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
        """Of a state that holds records: all of a key are in one partition."""
        return next(iter(self._waiting[key].values())).partition

    async def take(self, db: Db, items: Sequence[Item], overdue: Sequence[Late], now: float) -> Taken:
        """Take these records in order, then what is overdue. After an error the states are of no more use."""
        stream, taken = self._stream, Taken()
        items = [item for item in items if item.piece is not None]
        states = await self._known(db, [*(item.key for item in items), *(late.key for late in overdue)])
        await stream.prepare(db, [(states[item.key], item.piece) for item in items])
        for item in items if faults.armed() else ():
            faults.raising(faults.IN_TAKE, str(item.raw.position))
        for _, key, piece, came in items:
            state = states[key]
            if chunks := stream.take(state, piece, came):
                taken.chunks += chunks
                taken.states[key] = state
        for late in overdue:
            state = states[late.key]
            if (due := stream.due(state)) is None or due > late.until:
                continue  # what it waited for has come, or what it held is not taken again
            if chunks := stream.overdue(state, now):
                taken.chunks += chunks
                taken.states[late.key] = state
        self._note(states, items)
        return taken

    def _note(self, states: Mapping[Any, Any], items: Sequence[Item]) -> None:
        """Note what these states hold now, some of these records perhaps, and until when."""
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
