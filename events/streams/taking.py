"""Pieces of a stream taken into its states, batch by batch; what of them is held and what is overdue.

Knows no consumer, no position and no transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from events.log.wire import Raw
from events.process import faults
from events.projections.tables import Db
from events.streams.stream import AnyStream

REMEMBERED = 20_000
"""States that are kept in memory, besides those in use; up to twice as many between two looks."""


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


@dataclass(slots=True)
class Taken:
    """What is to be written."""

    chunks: list[Any] = field(default_factory=list)
    states: dict[Any, Any] = field(default_factory=dict)
    """Those that gave the chunks, by key."""


class Taker:
    """The states of a stream in one process."""

    def __init__(self, stream: AnyStream) -> None:
        self._stream = stream
        self._states: dict[Any, Any] = {}
        self._waiting: dict[Any, dict[int, Item]] = {}
        """The held records of each state that holds any, by offset."""
        self._due: dict[Any, float] = {}

    def forget(self) -> None:
        """Drop all states: they were changed for a transaction that failed, or the positions are others'."""
        self._states.clear()
        self._waiting.clear()
        self._due.clear()

    @property
    def held(self) -> list[Item]:
        """All held records, in the order in which they came."""
        items = (item for held in self._waiting.values() for item in held.values())
        return sorted(items, key=lambda item: (item.came, item.offset))

    def held_of(self, key: Any) -> list[Item]:
        """The held records of a state, in the order in which they came."""
        return [item for item in self.held if item.key == key]

    def overdue(self, now: float) -> list[Any]:
        """The keys whose states waited for long enough."""
        return [key for key, due in self._due.items() if due <= now]

    async def take(self, db: Db, items: Sequence[Item], overdue: Sequence[Any], now: float) -> Taken:
        """Take these records in order, then what is overdue. After an error the states are of no more use."""
        stream, taken = self._stream, Taken()
        items = [item for item in items if item.piece is not None]
        states = await self._known(db, {*(item.key for item in items), *overdue})
        for item in items if faults.armed() else ():
            faults.raising(faults.IN_TAKE, str(item.raw.position))
        for _, key, piece, came in items:
            state = states[key]
            if chunks := stream.take(state, piece, came):
                taken.chunks += chunks
                taken.states[key] = state
        for key in overdue:
            state = states[key]
            if chunks := stream.overdue(state, now):
                taken.chunks += chunks
                taken.states[key] = state
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
            if key in holding:
                self._waiting[key] = {offset: known[key][offset] for offset in holding[key]}
            else:
                self._waiting.pop(key, None)
            if (due := self._stream.due(state)) is not None:
                self._due[key] = due
            else:
                self._due.pop(key, None)

    async def _known(self, db: Db, keys: set[Any]) -> dict[Any, Any]:
        """The states of these keys, from memory or from the tables."""
        if missing := [key for key in keys if key not in self._states]:
            self._states.update(await self._stream.load(db, missing))
        known = {key: self._states[key] for key in keys}
        if len(self._states) > 2 * REMEMBERED:
            self._evict(keys)
        return known

    def _evict(self, used: Iterable[Any]) -> None:
        needed = {*used, *self._waiting, *self._due}
        others = [key for key in self._states if key not in needed]
        for key in others[: len(self._states) - REMEMBERED]:
            del self._states[key]
