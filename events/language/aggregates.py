"""Rules for how messages name their aggregates; a message that breaks one keeps the language from being loaded.

Knows the classes of messages alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from events.language.base import Command, Event, Message
from events.language.contexts import ContextsError

LOG = "log"
"""Context of the log's own events: they are about any aggregate, and no decider decides them."""

_PREFIX = re.compile(r"[a-z][a-z0-9-]*")
_KIND = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class LanguageError(ContextsError):
    """A message class that can't be used; the text names the class, what is wrong and what to do."""


def check_aggregates(messages: Iterable[type[Message]]) -> None:
    """Raises `LanguageError` for the first message that names its aggregates in a way that can't be."""
    decides: dict[str, str] = {}
    prefixes: dict[str, str] = {}
    for message in messages:
        if message.context != LOG:
            _check(message, decides)
            if issubclass(message, Command):
                _check_prefix(message, prefixes)
                _check_conclusions(message)


def _check(message: type[Message], decides: dict[str, str]) -> None:
    """`decides`: kind that decides → the context in which it does, as far as it is known."""
    for variable in ("aggregate", "subject_from", "key_from"):
        if not getattr(message, variable, ""):
            raise LanguageError(f"{message.type_name()}: {variable} is not set; set it as a class variable")
    kind = message.decider_kind()
    for variable, name in (("aggregate", message.aggregate), ("decided_by", kind)):
        if not _KIND.fullmatch(name):
            raise LanguageError(f"{message.type_name()}: {variable} is {name!r}; use lower-case words, such as 'job'")
    for variable in ("subject_from", "key_from"):
        if (field := getattr(message, variable)) not in message.model_fields:
            raise LanguageError(
                f"{message.type_name()}: {variable} is {field!r}, which is no field of it; name a field"
            )
    if message.aggregate == kind and message.subject_from != message.key_from:
        raise LanguageError(
            f"{message.type_name()}: it is about the {kind} that decides it, so subject_from and key_from must be the "
            f"same field; or set decided_by"
        )
    if (context := decides.setdefault(kind, message.context)) != message.context:
        raise LanguageError(
            f"{message.type_name()}: {kind} decides in {context} already; give the aggregate of {message.context} "
            f"another name, or set decided_by"
        )


def _check_prefix(command: type[Command], prefixes: dict[str, str]) -> None:
    """`prefixes`: how assigned ids begin → kind of their aggregates, as far as it is known."""
    prefix, kind = command.id_prefix, command.aggregate
    if (field := command.named_by) and (not command.assigns_id or prefix or field not in command.model_fields):
        raise LanguageError(
            f"{command.type_name()}: named_by is {field!r}; name a field of a command that assigns_id, and no id_prefix"
        )
    if command.assigns_id and not command.named_by and not _PREFIX.fullmatch(prefix):
        raise LanguageError(
            f"{command.type_name()}: it assigns ids, and id_prefix is {prefix!r}; set it to how the ids of {kind} "
            f"begin, such as 'j': lower-case letters, digits and hyphens, a letter first"
        )
    if prefix and (other := prefixes.setdefault(prefix, kind)) != kind:
        raise LanguageError(
            f"{command.type_name()}: id_prefix {prefix!r} is how ids of {other} begin; give those of {kind} another one"
        )


def _check_conclusions(command: type[Command]) -> None:
    """An event concludes a command only if its aggregate began with that very command: by that alone it is known."""
    name = command.type_name()
    if command.concluded_by and not command.assigns_id:
        raise LanguageError(f"{name}: concluded_by is for commands that create; set assigns_id, or leave it out")
    for event in command.concluded_by:
        if not issubclass(event, Event) or getattr(event, "aggregate", "") != command.aggregate:
            raise LanguageError(
                f"{name}: concluded_by has {event.__name__}, which is no event about {command.aggregate}; name events "
                f"about what the command creates"
            )
        if event.__subclasses__():
            raise LanguageError(
                f"{name}: concluded_by has {event.__name__}, which is no type by itself; name its types"
            )
