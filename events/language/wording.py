"""What pydantic finds wrong with a value, in words for people: field, problem and remedy.

Knows no message and no context, so what reads one document needs no other context's language.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from events.language.bounds import TEXT_PATTERN
from events.language.common import ID_PATTERN, PROJECT_PATTERN, FieldError, shown
from events.language.refusals import refusals_of

WHOLE = "(body)"
"""The field of an error about the message as a whole."""

_MOST_TOLD = 5
"""Problems that one line names."""

_ID_HINT = "use 1 to 128 lower-case letters, digits, '.', '_' and '-'; start and end with a letter or digit"


def _small(most: str, signs: str) -> str:
    also = f"{',' if len(signs) > 1 else ' and'} " + " and ".join(f"'{sign}'" for sign in signs)
    return f"use 1 to {most} lower-case letters, digits{also}; start and end with a letter or digit"


_PROJECT_HINT = "write organization/project, such as local/default"
_ENVIRONMENT_HINT = "use 1 to 63 lower-case letters, digits, '.', '_' and '-'; begin with a letter or digit"
_ALIAS_HINT = "use 1 to 255 letters, digits, '.', '_' and '-'; begin with a letter, a digit or '_'"
_PORT_HINT = "use 1 to 15 lower-case letters, digits and '-'; begin with a letter, and end with a letter or digit"
_SNAKE_HINT = "use lower-case letters, digits and '_', no digit first"

PATTERNS = {
    ID_PATTERN: _ID_HINT,
    PROJECT_PATTERN: _PROJECT_HINT,
    r"^[A-Za-z_][A-Za-z0-9_]{0,254}$": "use letters, digits and '_', no digit first, as shells do",
    r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?$": (
        "a label's key has letters, digits, '.', '_', '/' and '-', and starts and ends with a letter or digit"
    ),
    r"^[A-Za-z0-9._-]{0,63}$": "a label's value has at most 63 letters, digits, '.', '_' and '-'",
    r"^[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?$": _small("57", "-"),
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": _small("63", "-"),
    r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$": _small("63", "_-"),
    r"^([a-z0-9]([a-z0-9_-]{0,118}[a-z0-9])?)?$": _small("120", "_-"),
    r"^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$": _PORT_HINT,
    r"^[a-z_][a-z0-9_]*$": _SNAKE_HINT,
    r"^[a-z_][a-z0-9_]{0,62}$": f"{_SNAKE_HINT}; 63 characters at most",
    r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$": (
        "use 1 to 63 letters, digits, '.', '_', '/' and '-'; begin with a letter or digit"
    ),
    r"^[a-z0-9][a-z0-9._-]{0,62}$": _ENVIRONMENT_HINT,
    r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$": _ALIAS_HINT,
    r"^[A-Za-z_][A-Za-z0-9_./-]{0,199}$": (
        "use 1 to 200 letters, digits, '_', '.', '/' and '-'; begin with a letter or '_'"
    ),
    r"^[a-z][a-z0-9_-]{0,62}$": "use 1 to 63 lower-case letters, digits, '_' and '-'; begin with a letter",
    r"^[^/:@\x00-\x1f\x7f]*[^\s/:@\x00-\x1f\x7f][^/:@\x00-\x1f\x7f]*$": (
        "leave out '/', ':', '@' and control characters"
    ),
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": "write a time of the day, such as 07:30",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$": "write a time of the day, such as 07:30",
    r"^[0-9a-f]{64}$": "write 64 lower-case hexadecimal digits",
    r"^/[^\x00]*$": "write a path that begins with /",
}
"""Pattern of a text → what it may be. That of a text which may be empty has the same words: see `words_for`."""

OR_EMPTY = "^$|"
"""How the pattern of a text begins that may be empty."""


def words_for(pattern: str) -> str:
    """The pattern that may have words in `PATTERNS`."""
    return pattern.removeprefix(OR_EMPTY)


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


def close_to(word: str, known: Iterable[str]) -> str:
    """The known word nearest to a misspelt one; empty when none is near."""
    words = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(words), 1, 0.6)
    return words[close[0]] if close else ""


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
        problem = f"{shown_json(value)} is not allowed here"
        hint = PATTERNS.get(words_for(pattern), f"it must match {pattern}")
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
    return FieldError(field=path_of(place[:-1] if is_key else place), problem=problem, hint=hint)


def told(error: Exception) -> str:
    """What an error says: one of pydantic's the first things that are wrong with a value, by field, on one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = refusals_of(error)
    errors = [field_error(item, BaseModel) for item in found[:_MOST_TOLD]]
    lines = [each.problem if each.field == WHOLE else f"{each.field}: {each.problem}" for each in errors]
    return "; ".join(lines) + (f" (and {len(found) - len(lines)} more)" if len(found) > len(lines) else "")


def path_of(place: tuple[Any, ...]) -> str:
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
        return f"it belongs into {path_of((*place[:-1], *deeper))}"
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
