"""What is wrong with a message, for people: pydantic's errors as `FieldError`s that name field, problem and remedy.

The same words on every door: Kafka, gRPC, HTTP, CLI, manifest. Knows no door, and no transport.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from events.language.base import Command, Model
from events.language.booleans import booleans_for_numbers
from events.language.common import (
    DisplayName,
    ErrorCode,
    FieldError,
    LogEvent,
    ProjectName,
    RecordRetried,
    RecordSkipped,
    Refused,
    WriterStarted,
    shown,
)
from events.language.refusals import refusals_of
from events.language.registry import (
    UPCASTERS,
    command_type,
    command_types,
    event_names,
    event_type,
    event_types,
    is_event_type,
    upcast,
)
from events.language.wording import WHOLE, close_to, field_error, path_of, shown_json

MAX_ERRORS = 50
"""Most field errors reported at once: an array of 10,000 bad items must not become a refusal of a megabyte."""


_BOOLEAN = re.compile(rb"[\[:,]\s*(?:true|false)")
"""What a body has in front of each boolean. A text may have it too, but seldom does, unlike the words alone."""


def field_errors(error: ValidationError, model: type[Model]) -> tuple[FieldError, ...]:
    """One `FieldError` per problem, at most `MAX_ERRORS`."""
    return tuple(field_error(item, model) for item in refusals_of(error)[:MAX_ERRORS])


def refused(error: ValidationError, model: type[Model]) -> Refused:
    """The refusal that a body's errors lead to; its message names the first."""
    errors = field_errors(error, model)
    first, count = errors[0], len(refusals_of(error))
    where = "" if first.field == WHOLE else f"{first.field}: "
    more = f" (and {count - 1} more)" if count > 1 else ""
    return Refused(ErrorCode.INVALID_ARGUMENT, f"{where}{first.problem}{more}", errors)


def command_class(type_name: str) -> type[Command]:
    """The command of a type, given in full or, when only one context has such a command, by its class name.

    Raises Refused(not_found) that names the closest.
    """
    if found := command_type(type_name):
        return found
    if "." not in type_name:
        known = command_types()
        named = [full for full in known if full.rsplit(".", 1)[1] == type_name]
        if len(named) == 1:
            return known[named[0]]
        if named:
            raise Refused(ErrorCode.INVALID_ARGUMENT, f"{type_name!r} is ambiguous; write {' or '.join(named)}")
    raise _unknown(type_name)


def decode_command(type_name: str, value: bytes) -> Command:
    """A command from its type (in full) and JSON body.

    Raises Refused: invalid_argument for a body that is wrong (with field errors when it is JSON at all) and for a type
    that is no command's.
    """
    try:
        type_name, value = upcast(type_name, value)
    except ValueError as error:
        raise Refused(ErrorCode.INVALID_ARGUMENT, f"the body is not a JSON object: {error}") from None
    model = command_type(type_name)
    if model is None:
        raise _unknown(type_name)
    return validate_json(model, value)


def validate_data(model: type[Command], data: Any) -> Command:
    """A command from JSON data. Raises Refused(invalid_argument)."""
    try:
        made = model.model_validate(data)
    except ValidationError as error:
        raise refused(error, model) from None
    _refuse_booleans(data, made)
    return made


def validate_json(model: type[Command], value: bytes) -> Command:
    """A command from its JSON body. Raises Refused(invalid_argument)."""
    try:
        made = model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            what = "the body is empty" if not value.strip() else f"the body is not JSON: {first['ctx']['error']}"
            raise Refused(ErrorCode.INVALID_ARGUMENT, what) from None
        raise refused(error, model) from None
    if _BOOLEAN.search(value):
        _refuse_booleans(from_json(value), made)
    return made


def _refuse_booleans(data: Any, made: Command) -> None:
    """Raises Refused for booleans where numbers are wanted."""
    errors = [
        FieldError(field=path_of(place), problem=f"{shown_json(sent)} is not a number", hint="give a number")
        for place, sent in islice(booleans_for_numbers(data, made), MAX_ERRORS)
    ]
    if errors:
        raise Refused(ErrorCode.INVALID_ARGUMENT, f"{errors[0].field}: {errors[0].problem}", tuple(errors))


class _Origin(Model):
    ce_project: ProjectName
    ce_actor: DisplayName


@lru_cache(maxsize=1_000)
def origin_errors(project: str, actor: str) -> tuple[FieldError, ...]:
    """What is wrong with the headers that say for which project, and as whom, a command is sent; () when nothing is."""
    try:
        _Origin(ce_project=project, ce_actor=actor)
    except ValidationError as error:
        return refused(error, _Origin).errors
    return ()


_IN_NO_HISTORY = frozenset(kind.type_name() for kind in (WriterStarted, RecordSkipped, RecordRetried))
"""A writer's marker says nothing of an aggregate, and repairs have a topic of their own."""


def context_of_type(type_name: str) -> str:
    """``jobs`` of ``forgelog.jobs.v1.JobStarted``; ``log`` of events that every context has."""
    return type_name.split(".")[1]


def is_event_of(type_name: str, contexts: Collection[str]) -> bool:
    """Whether the history of one of these contexts may have events of the type."""
    return context_of_type(type_name) in (LogEvent.context, *contexts)


def event_types_named(name: str, contexts: Collection[str]) -> tuple[str, ...]:
    """The types of events that a name means in the history of these contexts, older versions included: itself, or all
    whose last word it is (``JobStarted``). Raises ValueError that says what to write."""
    may_have = {full for each in (LogEvent.context, *contexts) for full in event_names(each)} - _IN_NO_HISTORY
    if own := _named(name, may_have):
        return own
    known = [full for full in (*event_types(), *UPCASTERS) if is_event_type(full)]
    found = _named(name, known)
    if found and _IN_NO_HISTORY.issuperset(found):
        raise ValueError(f"{shown(name)} is no event of a context's history; docs/reference says where it stands")
    if found:
        others = " or ".join(sorted({context_of_type(full) for full in found}))
        raise ValueError(f"{shown(name)} is an event of {others}, not of {' or '.join(contexts)}; ask {others}")
    close = close_to(name, {full.rpartition(".")[2] for full in known})
    hint = f"did you mean {close!r}?" if close else "docs/reference lists them"
    raise ValueError(f"there is no event {shown(name)}; {hint}")


def _named(name: str, known: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(full for full in known if name and name in (full, full.rpartition(".")[2])))


def _unknown(type_name: str) -> Refused:
    if event_type(type_name) is not None:
        text = f"{type_name} is an event; events are written by the platform alone, publish a command"
        return Refused(ErrorCode.INVALID_ARGUMENT, text)
    short = {name.rsplit(".", 1)[1]: name for name in command_types()}
    close = close_to(type_name, command_types()) or short.get(close_to(type_name.rsplit(".", 1)[-1], short), "")
    hint = f"did you mean {close}?" if close else f"the commands are {', '.join(command_types())}"
    return Refused(ErrorCode.NOT_FOUND, f"there is no command type {type_name[:200]!r}; {hint}")
