"""Every command and event of the language by its type on the wire, and the upcasters from older versions.

Knows the language's modules and nothing of the log. A context joins by being one of `events.language.contexts`. A
class with subclasses (`JobEnded`, `PoolEvent`) only shares fields and is no type by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

import orjson

from events.language.aggregates import LanguageError, check_aggregates
from events.language.base import Command, Event, Message
from events.language.contexts import OWN, ContextsError, ContextSpec, broken
from events.language.contexts import contexts as specs
from events.language.planned import check_marks

COMMON = "events.language.common"
SHARED = (COMMON, "events.language.objects")
"""Modules whose models all contexts share."""
"""The module of the log's own events, which every context has."""


def _messages() -> Iterator[type[Message]]:
    """The concrete message classes, in the order they are written down. Raises ContextsError."""
    found = _defined(COMMON)
    for spec in specs().values():
        found += _messages_of(spec)
    bases = {base for message in found for base in message.__mro__[1:]}
    return (message for message in found if message not in bases)


def _messages_of(spec: ContextSpec) -> list[type[Message]]:
    try:
        found = [message for name in spec.modules() for message in _defined(name)]
        if spec not in OWN:
            for message in found:
                message.model_rebuild()  # pydantic says now, not when one is first used, what is wrong with it
    except ContextsError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - anybody's code
        said = str(error) if isinstance(error, ModuleNotFoundError) else broken(error)
        raise ContextsError(f"the language of the context {spec.name!r} can't be imported: {said}") from None
    for message in found:
        if getattr(message, "context", spec.name) != spec.name:
            where = f"{message.__module__}.{message.__name__}"
            raise LanguageError(f"{where} names the context {message.context!r}, but is in a module of {spec.name!r}")
    return found


def _defined(module: str) -> list[type[Message]]:
    """The message classes that a module defines."""
    return [
        value
        for value in vars(import_module(module)).values()
        if isinstance(value, type) and issubclass(value, Command | Event) and value.__module__ == module
    ]


_COMMANDS: dict[str, type[Command]] = {}
_EVENTS: dict[str, type[Event]] = {}
for _message in _messages():
    if not hasattr(_message, "context"):
        raise LanguageError(
            f"{_message.__module__}.{_message.__name__}: context is not set; set it as a class variable"
        )
    if issubclass(_message, Command):
        _COMMANDS[_message.type_name()] = _message
    elif issubclass(_message, Event):
        _EVENTS[_message.type_name()] = _message
_ALL: dict[str, type[Message]] = {**_COMMANDS, **_EVENTS}
check_aggregates(_ALL.values())
check_marks(_ALL.values())

contexts: tuple[str, ...] = tuple(sorted({message.context for message in _ALL.values()}))
"""The contexts that have commands or events, ``log`` (the log's own events) included."""


def command_types() -> Mapping[str, type[Command]]:
    """Type name → command, such as ``forgelog.jobs.v1.SubmitJob``."""
    return MappingProxyType(_COMMANDS)


def event_types() -> Mapping[str, type[Event]]:
    """Type name → event."""
    return MappingProxyType(_EVENTS)


def event_type(type_name: str) -> type[Event] | None:
    """The event of that type; None for one that is written no more, or not known."""
    return _EVENTS.get(type_name)


def lookup(type_name: str) -> type[Message] | None:
    """The command or event of that type in its newest version; None for a type this version does not know."""
    return _ALL.get(type_name)


def aggregate_of(message: Message) -> str:
    """Kind of the aggregate that a message is about, such as ``job``. An answer to a command (`CommandRejected`,
    `CommandNoted`) is about what the command was about. Empty where that is not known, and for the log's other events.
    """
    kind = type(message)
    if kind.aggregate or "command_type" not in kind.model_fields:
        return kind.aggregate
    command = lookup(newest(getattr(message, "command_type")))  # noqa: B009 - of every answer
    return command.aggregate if command is not None else ""


@cache
def aggregates_of(context: str) -> tuple[str, ...]:
    """The kinds of aggregates that a context's messages are about, such as ``allocation`` and ``node``."""
    return tuple(sorted({message.aggregate for message in _ALL.values() if message.context == context}))


@cache
def events_about(aggregate: str) -> tuple[str, ...]:
    """The types of events about aggregates of a kind, in all contexts, those that are upcast among them."""
    found = ((name, lookup(newest(name))) for name in (*_EVENTS, *UPCASTERS))
    return tuple(name for name, message in found if message is not None and message.aggregate == aggregate)


def is_event_type(type_name: str) -> bool:
    """Whether `type_name` is an event's, be it of a version that is upcast."""
    return type_name in _EVENTS or (type_name in UPCASTERS and UPCASTERS[type_name].event)


Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""An older version's JSON object as the next version's. May change its argument and return it."""


@dataclass(frozen=True, slots=True)
class Upcaster:
    """How a type that is written no more becomes its successor."""

    to: str
    """Type name of the next version (which may have an upcaster itself)."""
    change: Upcast
    event: bool = True
    """False for a command's."""


UPCASTERS: dict[str, Upcaster] = {}
"""Old type name → upcaster. Commands and events of those types stay readable."""


def upcaster(old: str, new: type[Message] | str) -> Callable[[Upcast], Upcast]:
    """Registers the decorated function as the way from type `old` to `new`. Raises ValueError on a second one, and for
    a type that is current (its version must be raised first)."""
    if old in UPCASTERS or old in _ALL:
        raise ValueError(f"{old} {'has an upcaster' if old in UPCASTERS else 'is a current type: raise its version'}")

    def register(change: Upcast) -> Upcast:
        to = new if isinstance(new, str) else new.type_name()
        event = UPCASTERS[to].event if to in UPCASTERS else to in _EVENTS
        UPCASTERS[old] = Upcaster(to, change, event)
        return change

    return register


def newest(type_name: str) -> str:
    """The name that a type has in its newest version; unchanged for one that is new, or unknown."""
    while (step := UPCASTERS.get(type_name)) is not None:
        type_name = step.to
    return type_name


def recorded_types(messages: Iterable[type[Message]]) -> frozenset[bytes]:
    """The types under which a log may have these messages: their own, and those that are upcast to them."""
    names = {message.type_name() for message in messages}
    names |= {old for old in UPCASTERS if newest(old) in names}
    return frozenset(name.encode() for name in names)


def upcast(type_name: str, value: bytes) -> tuple[str, bytes]:
    """A recorded message's type and JSON in its newest version; both unchanged (and unparsed) when they are new.

    Raises ValueError when an old record's value is not a JSON object.
    """
    step = UPCASTERS.get(type_name)
    if step is None:
        return type_name, value
    data = orjson.loads(value)
    if not isinstance(data, dict):
        raise ValueError(f"{type_name}: expected a JSON object, found {type(data).__name__}")
    while step is not None:
        data = step.change(data)
        type_name = step.to
        step = UPCASTERS.get(type_name)
    return type_name, orjson.dumps(data)
