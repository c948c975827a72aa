"""Every command and event of the language by its type on the wire, and the upcasters from older versions.

Knows the language's modules and nothing of the log. A context joins by being one of `events.language.contexts`. A
class with subclasses (`JobEnded`, `PoolEvent`) only shares fields and is no type by itself.

A context's language is imported when a type of it is first asked for: a service and an agent speak of few contexts, and
importing them all would be most of their start. Contexts that `FORGELOG_CONTEXTS` adds are imported at once, so that
what is wrong with them is said at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import chain
from threading import RLock
from types import MappingProxyType
from typing import Any

import orjson

from events.language.aggregates import LOG, LanguageError, check_aggregates
from events.language.base import Command, Event, Message
from events.language.contexts import OWN, ContextsError, ContextSpec, broken
from events.language.contexts import contexts as specs
from events.language.planned import check_marks

COMMON = "events.language.common"
"""The module of the log's own events, which every context has."""
SHARED = (COMMON, "events.language.objects", "events.language.network", "events.language.notices")
"""Modules whose models all contexts share."""

_COMMANDS: dict[str, type[Command]] = {}
_EVENTS: dict[str, type[Event]] = {}
_ALL: dict[str, type[Message]] = {}
_OF_CONTEXT: dict[str, tuple[type[Message], ...]] = {}
"""Context, or `LOG` → its types, in the order in which they are written down; as far as they are imported."""
_IMPORTING = RLock()


def _import(context: str) -> None:
    """Import the types of a context, or of `LOG`, once. Raises ContextsError."""
    with _IMPORTING:
        if context in _OF_CONTEXT:
            return
        _OF_CONTEXT[context] = ()  # its own modules may ask for its types, as those with upcasters do
        try:
            messages = _checked(_defined(COMMON) if context == LOG else _messages_of(specs()[context]))
        except BaseException:
            del _OF_CONTEXT[context]
            raise
        _ALL.update((message.type_name(), message) for message in messages)
        _COMMANDS.update((message.type_name(), message) for message in messages if issubclass(message, Command))
        _EVENTS.update((message.type_name(), message) for message in messages if issubclass(message, Event))
        _OF_CONTEXT[context] = messages


def _import_of(type_name: str) -> None:
    """Import the context that a type's name tells, if there is such a context."""
    if type_name not in _ALL:
        _, _, rest = type_name.partition(".")
        context = rest.partition(".")[0]
        if context in specs():
            _import(context)


def _checked(found: list[type[Message]]) -> tuple[type[Message], ...]:
    bases = {base for message in found for base in message.__mro__[1:]}
    messages = tuple(message for message in found if message not in bases)
    for message in messages:
        if not hasattr(message, "context"):
            raise LanguageError(
                f"{message.__module__}.{message.__name__}: context is not set; set it as a class variable"
            )
    check_aggregates([*_ALL.values(), *messages])
    check_marks(messages)
    return messages


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


def types_of(context: str) -> tuple[type[Message], ...]:
    """The commands and events of a context, or of `LOG`, in the order in which they are written down."""
    _import(context)
    return _OF_CONTEXT[context]


@cache
def command_types() -> Mapping[str, type[Command]]:
    """Type name → command, such as ``forgelog.jobs.v1.SubmitJob``, of all contexts."""
    of_all = chain.from_iterable(map(types_of, (LOG, *specs())))
    return MappingProxyType({kind.type_name(): kind for kind in of_all if issubclass(kind, Command)})


@cache
def event_types() -> Mapping[str, type[Event]]:
    """Type name → event, of all contexts."""
    of_all = chain.from_iterable(map(types_of, (LOG, *specs())))
    return MappingProxyType({kind.type_name(): kind for kind in of_all if issubclass(kind, Event)})


def command_type(type_name: str) -> type[Command] | None:
    """The command of that type; None for one that is sent no more, or not known."""
    _import_of(type_name)
    return _COMMANDS.get(type_name)


def event_type(type_name: str) -> type[Event] | None:
    """The event of that type; None for one that is written no more, or not known."""
    found = _EVENTS.get(type_name)
    if found is None:
        _import_of(type_name)
        found = _EVENTS.get(type_name)
    return found


def lookup(type_name: str) -> type[Message] | None:
    """The command or event of that type in its newest version; None for a type this version does not know."""
    _import_of(type_name)
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
    return tuple(sorted({message.aggregate for message in types_of(context)}))


def event_names(context: str) -> tuple[str, ...]:
    """The types of a context's events, those that are upcast among them."""
    written = [kind.type_name() for kind in types_of(context) if issubclass(kind, Event)]
    return (*written, *(old for old, step in UPCASTERS.items() if step.event and newest(old) in written))


@cache
def events_about(aggregate: str, context: str) -> tuple[str, ...]:
    """The types of a context's events about aggregates of a kind, those that are upcast among them."""
    found = ((name, lookup(newest(name))) for name in event_names(context))
    return tuple(name for name, message in found if message is not None and message.aggregate == aggregate)


def is_event_type(type_name: str) -> bool:
    """Whether `type_name` is an event's, be it of a version that is upcast."""
    _import_of(type_name)
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
    if old in UPCASTERS or lookup(old) is not None:
        raise ValueError(f"{old} {'has an upcaster' if old in UPCASTERS else 'is a current type: raise its version'}")

    def register(change: Upcast) -> Upcast:
        to = new if isinstance(new, str) else new.type_name()
        event = issubclass(new, Event) if isinstance(new, type) else is_event_type(to)
        UPCASTERS[old] = Upcaster(to, change, event)
        return change

    return register


def newest(type_name: str) -> str:
    """The name that a type has in its newest version; unchanged for one that is new, or unknown."""
    _import_of(type_name)
    while (step := UPCASTERS.get(type_name)) is not None:
        type_name = step.to
    return type_name


def recorded_types(messages: Iterable[type[Message]]) -> frozenset[bytes]:
    """The types under which a log may have these messages: their own, and those that are upcast to them."""
    names = {message.type_name() for message in messages}
    for name in names:
        _import_of(name)
    names |= {old for old in UPCASTERS if newest(old) in names}
    return frozenset(name.encode() for name in names)


def upcast(type_name: str, value: bytes) -> tuple[str, bytes]:
    """A recorded message's type and JSON in its newest version; both unchanged (and unparsed) when they are new.

    Raises ValueError when an old record's value is not a JSON object.
    """
    _import_of(type_name)
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


_import(LOG)
if len(specs()) > len(OWN):
    for _context in specs():
        _import(_context)
