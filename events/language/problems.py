"""What is wrong with a message, for people: pydantic's errors as `FieldError`s that name field, problem and remedy.

The same words on every door: Kafka, gRPC, HTTP, CLI, manifest. Knows no door, and no transport.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from events.language.base import Command, Model
from events.language.booleans import booleans_for_numbers
from events.language.bounds import TEXT_PATTERN
from events.language.common import (
    ID_PATTERN,
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

MAX_ERRORS = 50
"""Most field errors reported at once: an array of 10,000 bad items must not become a refusal of a megabyte."""

WHOLE = "(body)"
"""The field of an error about the message as a whole."""

_ID_HINT = "use 1 to 128 lower-case letters, digits, '.', '_' and '-'; start and end with a letter or digit"

_PATTERNS = {
    ID_PATTERN: _ID_HINT,
    rf"^$|{ID_PATTERN}": _ID_HINT,
    r"^[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}$": "write organization/project, such as local/default",
    r"^[A-Za-z_][A-Za-z0-9_]{0,254}$": "use letters, digits and '_', no digit first, as shells do",
    r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?$": (
        "a label's key has letters, digits, '.', '_', '/' and '-', and starts and ends with a letter or digit"
    ),
    r"^[A-Za-z0-9._-]{0,63}$": "a label's value has at most 63 letters, digits, '.', '_' and '-'",
}

_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "dict_type": "an object",
    "model_type": "an object",
    "tuple_type": "a list",
    "list_type": "a list",
    "timezone_aware": "a time with its zone",
}

_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

_TIMES = ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "datetime_object_invalid")


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
    if b"true" in value or b"false" in value:
        _refuse_booleans(from_json(value), made)
    return made


def _refuse_booleans(data: Any, made: Command) -> None:
    """Raises Refused for booleans where numbers are wanted."""
    errors = [
        FieldError(field=_path(place), problem=f"{shown_json(sent)} is not a number", hint="give a number")
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


def close_to(word: str, known: Iterable[str]) -> str:
    """The known word nearest to a misspelt one; empty when none is near."""
    words = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(words), 1, 0.6)
    return words[close[0]] if close else ""


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


def field_error(item: Mapping[str, Any], model: type[BaseModel]) -> FieldError:
    """One of pydantic's errors about a model, in words for people."""
    place, kind, value = item["loc"], item["type"], item.get("input")
    context: Mapping[str, Any] = item.get("ctx", {})
    is_key = bool(place) and place[-1] == "[key]"
    problem, hint = str(item["msg"]), ""
    if kind == "extra_forbidden":
        problem, hint = "there is no such field", _field_hint(model, place)
    elif kind == "missing":
        problem, hint = "is missing", "give a value"
    elif kind == "enum":
        words = [word.strip().strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(",")]
        close = close_to(value, words) if isinstance(value, str) else ""
        problem = f"{shown_json(value)} is none of {', '.join(words)}"
        hint = f"did you mean {close!r}?" if close else "choose one of these words"
    elif kind in _BOUNDS:
        words_, limit = _BOUNDS[kind]
        problem, hint = f"is {shown_json(value)}", f"give {words_} {_number(context[limit])}"
    elif kind == "finite_number":
        problem, hint = f"is {shown_json(value)}", "give a finite number"
    elif kind == "string_pattern_mismatch" and context["pattern"] == TEXT_PATTERN:
        problem, hint = "has the character U+0000", "leave it out: no table can hold it"
    elif kind == "string_unicode":
        problem, hint = "is not text in Unicode", "leave half surrogates out"
    elif kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        problem, hint = f"{shown_json(value)} is not allowed here", _PATTERNS.get(pattern, f"it must match {pattern}")
    elif kind in ("string_too_long", "too_long"):
        unit = "characters" if kind == "string_too_long" else "entries"
        length = len(value) if isinstance(value, str | list | tuple | dict) else context.get("actual_length")
        problem, hint = f"has {length} {unit}", f"at most {context['max_length']} are allowed"
    elif kind in ("string_too_short", "too_short"):
        unit = "characters" if kind == "string_too_short" else "entries"
        problem = "is empty" if not value else f"has {len(value)} {unit}"
        least = context["min_length"]
        hint = f"give at least {least} {unit if least != 1 else {'characters': 'character', 'entries': 'entry'}[unit]}"
    elif kind in _TIMES:
        problem, hint = f"{shown_json(value)} is no time", "write it as RFC 3339, such as 2026-05-09T03:12:00Z"
    elif kind in _KINDS:
        problem, hint = f"{shown_json(value)} is not {_KINDS[kind]}", f"give {_KINDS[kind]}"
    elif kind == "value_error":
        # The language's own validators write "what is wrong; what to do".
        problem, _, hint = problem.removeprefix("Value error, ").partition("; ")
    if is_key:
        problem = f"key {problem}"
    return FieldError(field=_path(place[:-1] if is_key else place), problem=problem, hint=hint)


def _path(place: tuple[Any, ...]) -> str:
    """``spec.depends_on[0].job_id``"""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text[:500] or WHOLE


def shown_json(value: Any) -> str:
    """A value of a JSON text, as a message quotes it."""
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return shown(value)


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _field_hint(model: type[BaseModel], place: tuple[Any, ...]) -> str:
    """Which field was meant, or where a field of that name is, or which there are."""
    owner = _model_at(model, place[:-1])
    if owner is None:
        return ""
    wrong = str(place[-1])
    close = close_to(wrong, owner.model_fields)
    if close:
        return f"did you mean {close!r}?"
    deeper = _find(owner, wrong)
    if deeper:
        return f"it belongs into {_path((*place[:-1], *deeper))}"
    return f"the fields are {', '.join(owner.model_fields)}"


def _find(owner: type[BaseModel], name: str, depth: int = 3) -> tuple[str, ...]:
    """The path to a field of that name below a model; empty when there is none."""
    inner = {field: _model_of(info.annotation) for field, info in owner.model_fields.items()}
    for field, below in inner.items():
        if below is not None and name in below.model_fields:
            return (field, name)
    for field, below in inner.items():
        if below is not None and depth > 1 and (path := _find(below, name, depth - 1)):
            return (field, *path)
    return ()


def _model_at(model: type[BaseModel], place: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that a path leads to; None where it leads out of models."""
    current: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if current is not None else None
        if field is None:
            return None
        current = _model_of(field.annotation, through_lists=True)
    return current


def _model_of(annotation: Any, *, through_lists: bool = False) -> type[BaseModel] | None:
    """The one model in a field's type; lists of it count when asked for."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    if not through_lists and get_origin(annotation) in (tuple, list, dict, set, frozenset):
        return None
    if get_origin(annotation) in (dict, Mapping):
        return None  # the path's next part is a key, which has no fields to suggest
    for inner in get_args(annotation):
        found = _model_of(inner, through_lists=through_lists)
        if found is not None:
            return found
    return None
