"""A whole context's decisions in memory, without a log: commands and foreign events in, events out, in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from events.language.base import Command, Event
from events.language.common import Refused
from events.log.ids import with_assigned_id
from events.writer.decider import DecisionContext
from services.experiments.service import deciders

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
PROJECT = "local/default"


_deciders = cache(deciders)
"""They have no state of their own, and take a tenth of a second to make."""


class Desk:
    """Decides as the writer does: each event is folded, and then told to those that its routes name."""

    def __init__(self, project: str = PROJECT) -> None:
        self.deciders = _deciders()
        self.states: dict[tuple[str, str], Any] = {}
        self.project = project
        self.events: list[Event] = []
        self._ids = 0

    def send(self, command: Command, *, actor: str = "owner") -> list[Event]:
        """What follows from a command, reactions included. Raises Refused."""
        self._ids += 1
        command = with_assigned_id(command, f"c{self._ids}", self.project)
        decider = self.deciders.of(type(command))
        state = self._state(decider, command.key())
        return self._take(decider.decide(state, command, self._context(command.subject(), actor)))

    def hear(self, event: Event, origin: str = "") -> list[Event]:
        """What follows from an event of another context; `origin`: who ordered what it is about."""
        return self._take(self._reactions(event, origin))

    def state(self, kind: str, key: str) -> Any:
        return self.states[kind, key]

    def _take(self, decided: Any) -> list[Event]:
        done, waiting, touched = [], list(decided), {}
        while waiting:
            event = waiting.pop(0)
            decider = self.deciders.of(type(event))
            key = decider.aggregate, event.key()
            self.states[key] = decider.evolve(self._state(decider, event.key()), event, self._now())
            done.append(event)
            touched[key] = decider
            waiting += self._reactions(event)
            if not waiting:  # the batch is over
                for place, acting in touched.items():
                    waiting += acting.after_batch(self.states[place], self._context(place[1]))
        self.events += done
        return done

    def _reactions(self, event: Event, origin: str = "") -> list[Event]:
        found: list[Event] = []
        for kind, key in self.deciders.concerned(event, origin):
            decider = next(each for each in self.deciders if each.aggregate == kind)
            state = decider.observe(self._state(decider, key), event, self._now())
            found += decider.react(state, event, self._context(key))
        return found

    def _state(self, decider: Any, key: str) -> Any:
        return self.states.get((decider.aggregate, key)) or decider.initial(key)

    def _context(self, subject: str, actor: str = "owner") -> DecisionContext:
        self._ids += 1
        return DecisionContext(self._now(), f"i{self._ids}", actor, self.project, subject)

    def _now(self) -> datetime:
        return NOON + timedelta(seconds=self._ids)


def names(events: Sequence[Event]) -> list[str]:
    """Which events these are."""
    return [type(event).__name__ for event in events]


def refusal(desk: Desk, command: Command) -> Refused:
    """Why a command is refused."""
    with pytest.raises(Refused) as caught:
        desk.send(command)
    return caught.value
