"""What a partition does by itself: `after_batch` after each batch, `wake` when a key is due. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from events.language.base import Event
from events.writer.decider import Decider, DecisionContext
from events.writer.encoding import Unit
from events.writer.states import States
from events.writer.timers import Timers

S = TypeVar("S")

Decide: TypeAlias = Callable[[S, DecisionContext], Sequence[Event]]
"""`Decider.after_batch` or `Decider.wake`."""

Act: TypeAlias = Callable[[Decide[S], str, S, datetime], Unit | None]
"""Calls `Decide` with a key's state at a time; returns the resulting unit, or None if there are no events."""


class Initiative(Generic[S]):
    """Which keys are dirty, and when each is next due."""

    __slots__ = ("_decider", "_states", "_timers", "acting_on", "acts", "dirty")

    def __init__(self, decider: Decider[S], states: States[S]) -> None:
        self.dirty: set[str] = set()
        """Keys whose states have changed since the last batch, or may have."""
        self.acting_on = ""
        """The key that last acted."""
        self._decider = decider
        self._states = states
        self._timers = Timers()
        kind = type(decider)
        self.acts = kind.after_batch is not Decider.after_batch or kind.due is not Decider.due
        """Whether the decider overrides `after_batch` or `due`. If not, no key is ever dirty."""

    def mark(self, key: str) -> None:
        """Note that a key is dirty."""
        if self.acts:
            self.dirty.add(key)

    def after_batch(self, now: datetime, act: Act[S]) -> list[Unit]:
        """Call `after_batch` for every dirty key until it returns nothing, and note when the key is next due."""
        units: list[Unit] = []
        dirty, self.dirty = self.dirty, set()
        for key in dirty:
            self.acting_on = key
            while (state := self._states.get(key)) is not None:
                unit = act(self._decider.after_batch, key, state, now)
                if unit is None:
                    break
                units.append(unit)
            self._note_due(key)
        self.dirty.difference_update(dirty)
        return units

    def wake(self, now: datetime, act: Act[S]) -> list[Unit]:
        """Call `wake` for every key that is due."""
        units: list[Unit] = []
        while (key := self._timers.pop(now)) is not None:
            self.acting_on = key
            state = self._states.get(key)
            if state is None:
                continue
            due = self._decider.due(state)
            if due is not None and due <= now:
                unit = act(self._decider.wake, key, state, now)
                if unit is not None:
                    units.append(unit)
                self.dirty.add(key)
            else:
                self._note_due(key)
        return units

    def _note_due(self, key: str) -> None:
        state = self._states.get(key)
        if state is not None:
            self._timers.note(key, self._decider.due(state))

    def next_due(self) -> datetime | None:
        """The time of the next timer; None if there is none."""
        return self._timers.next

    def on_resume(self, now: datetime) -> None:
        """Call `Decider.on_resume` for every live state."""
        for key, state in self._states.items():
            self.acting_on = key
            self._decider.on_resume(state, now)
            self.mark(key)
