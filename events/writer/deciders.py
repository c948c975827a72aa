"""The deciders of one context: one for each kind of aggregate that decides, chosen by a message's type. Immutable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from events.language.base import Command, Event, Message
from events.language.common import CommandRejected
from events.log.wire import Raw
from events.writer import dumps, origins
from events.writer.decider import BY_ORIGIN, Decider, Route


class DeciderError(ValueError):
    """Deciders that can't form a context; the text names them, the problem and the remedy."""


class Concerned(NamedTuple):
    """A state that an event concerns."""

    kind: str
    """The kind of aggregate that decides, for example ``queue``."""
    key: str


class Deciders:
    """A context's deciders by kind."""

    __slots__ = (
        "_by_kind",
        "_own",
        "_routed",
        "by_origin",
        "commands",
        "context",
        "dispatching",
        "foreign",
        "observing",
        "unhurried",
        "version",
    )

    def __init__(self, *deciders: Decider[Any]) -> None:
        """Raises `DeciderError`:

        - for no decider, for deciders of several contexts, and for two deciders of one kind;
        - for a decider that lists a command or an event of another kind;
        - for a decider that decides for other aggregates, but does not override `holds`, or lists no event that begins
          such an aggregate;
        - for a decider that lists an event as `unhurried` and has no route for it;
        - for a decider whose `dispatching`, `asks`, `consults`, `answered` and `refused` do not fit together;
        - for a state that can't be dumped by its type, without a `dump`.
        """
        found = {decider.context for decider in deciders}
        if len(found) != 1:
            names = ", ".join(sorted(found)) or "none"
            raise DeciderError(f"deciders of one context are needed, these are of: {names}; give each context its own")
        (self.context,) = found
        self._by_kind: dict[str, Decider[Any]] = {}
        for decider in deciders:
            if other := self._by_kind.get(decider.aggregate):
                names = f"{type(other).__name__} and {type(decider).__name__}"
                raise DeciderError(f"{names} both decide {decider.aggregate} of {self.context}; give each its own kind")
            self._by_kind[decider.aggregate] = decider
            _check(decider)
        self.commands: frozenset[type[Command]] = frozenset(each for decider in deciders for each in decider.commands)
        """Commands that the context takes."""
        self._routed: dict[type[Event], tuple[tuple[Decider[Any], Route], ...]] = {}
        for decider in deciders:
            for event, route in decider.routes.items():
                self._routed[event] = (*self._routed.get(event, ()), (decider, route))
        self.foreign: frozenset[str] = frozenset(event.context for event in self._routed) | frozenset(
            context for decider in deciders for context in decider.asks
        )
        """Contexts whose events are routed, or that orders go to; the own one may be among them."""
        if asking := [decider for decider in deciders if decider.asks]:
            self._routed[CommandRejected] = tuple((decider, BY_ORIGIN) for decider in asking)
        self.by_origin: frozenset[type[Event]] = frozenset(
            event for event, routed in self._routed.items() if all(route is BY_ORIGIN for _, route in routed)
        )
        """Events that are routed by origin only."""
        self.unhurried: frozenset[type[Event]] = frozenset(
            event
            for event, routed in self._routed.items()
            if all(route is BY_ORIGIN or event in decider.unhurried for decider, route in routed)
        )
        """Events that are to be heard at once only where their origin is of this context."""
        self._own = f"{self.context}/".encode()
        self.dispatching: dict[type[Event], Decider[Any]] = {
            event: decider for decider in deciders for event in decider.dispatching
        }
        """Own events that go to `dispatch`, and their deciders."""
        self.observing: bool = any(type(decider).observe is not Decider.observe for decider in deciders)
        """Whether a decider overrides `observe`."""
        self.version: str = ".".join(f"{each.aggregate}={_version_of(each)}" for each in deciders)
        """The version of what the deciders' `dump` returns, for example ``job=4``."""

    def __iter__(self) -> Iterator[Decider[Any]]:
        return iter(self._by_kind.values())

    def of(self, message: type[Message]) -> Decider[Any]:
        """The decider of a command or of an own event. Raises `DeciderError` if the context has none of that kind."""
        decider = self._by_kind.get(message.decider_kind()) if message.context == self.context else None
        if decider is None:
            raise DeciderError(f"{message.type_name()}: {self.context} has no decider of {message.decider_kind()}")
        return decider

    def routes(self, event: type[Event]) -> bool:
        """Whether events of this type are routed."""
        return event in self._routed

    def passes_by(self, model: type[Event], raw: Raw) -> bool:
        """Whether the ``ce_origin`` of a routed event shows that it concerns no aggregate of this context."""
        return model in self.by_origin and not self.has_own_origin(raw)

    def has_own_origin(self, raw: Raw) -> bool:
        """Whether an aggregate of this context ordered what a record tells of."""
        return bool((raw.get("ce_origin") or b"").startswith(self._own))

    def concerned(self, event: Event, origin: str = "") -> list[Concerned]:
        """The states that an event concerns, by its routes. Raises what a route raises."""
        found: list[Concerned] = []
        for decider, route in self._routed.get(type(event), ()):
            if route is BY_ORIGIN:
                asker = origins.parsed(origin)
                if asker is not None and asker[:2] == (self.context, decider.aggregate):
                    found.append(Concerned(decider.aggregate, asker.id))
            else:
                found += [Concerned(decider.aggregate, key) for key in route(event)]
        return found

    @property
    def routed(self) -> frozenset[type[Event]]:
        """Types of events that are routed."""
        return frozenset(self._routed)

    def reacts(self, event: type[Event]) -> bool:
        """Whether events of this type go to the `react` of any decider."""
        return event is CommandRejected or any(decider.reacts(event) for decider, _ in self._routed.get(event, ()))


OneOrMore: TypeAlias = "Deciders | Decider[Any]"
"""The deciders of a context, or its only decider."""


def gathered(deciders: OneOrMore) -> Deciders:
    """The deciders of a context. Raises `DeciderError`."""
    return deciders if isinstance(deciders, Deciders) else Deciders(deciders)


def _version_of(decider: Decider[Any]) -> str:
    """Raises `DeciderError` for a state that can't be dumped by its type."""
    kind, version = type(decider), f"{decider.dump_version}"
    if kind.dump is not Decider.dump:
        return version
    try:
        return f"{version}-{dumps.shape_of(kind)}"
    except dumps.StateTypeError as error:
        raise DeciderError(str(error)) from None


def _check(decider: Decider[Any]) -> None:
    for message in (*decider.commands, *decider.events):
        if (message.context, message.decider_kind()) != (decider.context, decider.aggregate):
            raise DeciderError(
                f"{type(decider).__name__} decides {decider.aggregate} of {decider.context}, but lists "
                f"{message.type_name()}, which {message.decider_kind()} of {message.context} decides; list it there"
            )
    name = type(decider).__name__
    if stray := next((event for event in decider.dispatching if event not in decider.events), None):
        raise DeciderError(f"{name} dispatches {stray.type_name()}, which it does not list; list it in `events`")
    if decider.dispatching and not decider.asks:
        raise DeciderError(f"{name} dispatches and does not say whom it asks; name the contexts in `asks`")
    if stray := next((event for event in decider.unhurried if event not in decider.routes), None):
        raise DeciderError(f"{name} is in no hurry to hear {stray.type_name()}, which it does not route; add a route")
    if decider.consults and type(decider).answered is Decider.answered:
        raise DeciderError(f"{name} consults {decider.consults[0]} and does not use an answer; override `answered`")
    if decider.asks and type(decider).refused is Decider.refused:
        raise DeciderError(
            f"{name} asks {decider.asks[0]} and does not say what a refusal leads to; override `refused`"
        )
    others = [event for event in decider.events if event.aggregate != decider.aggregate]
    if others and type(decider).holds is Decider.holds:
        raise DeciderError(
            f"{name} decides for others ({others[0].aggregate}), but does not say which of them its state still holds: "
            f"their provenance would be kept for good; override `holds`"
        )
    for kind in sorted({event.aggregate for event in others} - {event.aggregate for event in others if event.begins}):
        raise DeciderError(f"{name} lists no event that begins a {kind}; mark the one that does with `begins = True`")
