"""The states of each kind of aggregate in a partition, and which kind a message belongs to. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from events.language.base import Event, Message
from events.language.common import CommandRejected, LogEvent
from events.writer.decider import Decider, DecisionContext
from events.writer.deciders import DeciderError, Deciders
from events.writer.initiative import Initiative
from events.writer.states import States

S = TypeVar("S")


class Kind(Generic[S]):
    """The states of one decider, and its timers."""

    __slots__ = ("_events", "decider", "initiative", "observes", "passivates", "states")

    def __init__(self, decider: Decider[S]) -> None:
        self.decider = decider
        self.states: States[S] = States(decider)
        self.initiative = Initiative(decider, self.states)
        self._events = frozenset(decider.events)
        kind = type(decider)
        self.passivates = kind.may_passivate is not Decider.may_passivate
        """Whether the decider overrides `may_passivate`."""
        self.observes = kind.observe is not Decider.observe
        """Whether the decider overrides `observe`."""

    @property
    def acting_on(self) -> str:
        """Kind and key that last acted by themselves, for example ``queue default``; empty if none has."""
        key = self.initiative.acting_on
        return f"{self.decider.aggregate} {key}" if key else ""

    def own(self, decided: Sequence[Event]) -> Sequence[Event]:
        """The events that its decider returned. Raises `DeciderError` for an event that the decider does not list: it
        would change a state that the decider did not see, possibly one of another partition."""
        if self._events.issuperset(map(type, decided)):
            return decided
        decider = self.decider
        stray = next(type(event) for event in decided if type(event) not in self._events)
        raise DeciderError(
            f"{type(decider).__name__} decides {decider.aggregate} of {decider.context}, but gave {stray.type_name()}, "
            + (f"which {stray.decider_kind()} decides" if stray.decider_kind() != decider.aggregate else "unlisted")
        )

    def reacts(self, event: type[Event]) -> bool:
        """Whether events of this type, of another aggregate, go to the decider."""
        return event is CommandRejected or self.decider.reacts(event)

    def react(self, state: S, event: Event, context: DecisionContext) -> Sequence[Event]:
        """The decider's reaction to an event of another aggregate, or to the refusal of an order."""
        if isinstance(event, CommandRejected):
            return self.decider.refused(state, event, context)
        return self.decider.react(state, event, context)

    def state(self, key: str) -> S:
        """The state of a key; the initial state if there is none."""
        state = self.states.get(key)
        return self.decider.initial(key) if state is None else state

    def taken(self, key: str) -> S:
        """As `state`, and the state is live from now on."""
        state = self.states.take(key)
        return self.decider.initial(key) if state is None else state

    def rests(self, key: str, state: S) -> bool:
        """Note and return whether a live state that has just changed is at rest."""
        passive = self.decider.may_passivate(state)
        self.states.passivate(key, passive)
        if passive:  # `after_batch` has nothing to do for it, and it is never due
            self.initiative.dirty.discard(key)
        return passive


@dataclass(frozen=True, slots=True)
class Placing:
    """Where the messages of one type belong."""

    kind: Kind[Any]
    """The kind of aggregate that decides."""
    aggregate: str
    """The kind of aggregate that the message is about."""
    own: bool
    """Whether both are the same aggregate: then its id is the key."""
    subject_from: str
    """The field with the id of the aggregate that the message is about."""
    names_project: bool
    """Whether the message has a field `project`."""
    begins: bool
    """Whether the message begins its aggregate."""


class Placings(dict[type[Message], "Placing | None"]):
    """Type of a command or an event → its place; None for the log's own events, which no decider folds.

    Raises `DeciderError` for a type that is not the context's.
    """

    def __init__(self, deciders: Deciders, kinds: dict[str, Kind[Any]]) -> None:
        super().__init__()
        self._deciders = deciders
        self._kinds = kinds

    def __missing__(self, message: type[Message]) -> Placing | None:
        place: Placing | None = None
        if not issubclass(message, LogEvent):
            kind = self._kinds[self._deciders.of(message).aggregate]
            own = message.aggregate == message.decider_kind()
            begins = issubclass(message, Event) and message.begins
            place = Placing(kind, message.aggregate, own, message.subject_from, message.names_project(), begins)
        self[message] = place
        return place
