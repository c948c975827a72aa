"""Parameters of a pipeline: what a run is given, and what it may be. Pure.

Values are texts on the wire, as users write them. `bound` holds them to their specifications; `typed` makes Python
values of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from events.language.base import Model
from events.language.common import FieldError, shown

MAX_PARAMETERS = 200

ParameterName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), Field(examples=["day"])]
"""1 to 63 lower-case letters, digits and ``_``, no digit first."""


def _as_text(value: Any) -> Any:
    """A value as it is written: YAML and Python users give ``default: 3`` and ``default: true``."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return value.isoformat() if isinstance(value, date) else value


ParameterValue = Annotated[
    str, StringConstraints(max_length=6_000), BeforeValidator(_as_text), Field(examples=["2026-05-09"])
]
"""A value as text: ``3``, ``true``, ``2026-05-09``."""

Parameters = Annotated[dict[ParameterName, ParameterValue], Field(max_length=MAX_PARAMETERS)]


class ParameterType(StrEnum):
    """What a parameter's text means."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    """``true`` or ``false``."""
    DATE = "date"
    """``2026-05-09``."""
    TIMESTAMP = "timestamp"
    """RFC 3339, such as ``2026-05-09T03:12:00Z``; without a zone it is UTC."""


class ParameterSpec(Model):
    """What a parameter may be."""

    type: ParameterType = ParameterType.STRING
    description: Annotated[str, StringConstraints(max_length=1_000)] = ""
    default: ParameterValue | None = None
    """Of a run that is given none."""
    required: bool = False
    """Whether a run must be given one; with a default it never must."""
    choices: tuple[ParameterValue, ...] = Field(default=(), max_length=1_000)
    """The values that it may have; any when empty."""
    minimum: ParameterValue | None = None
    """The least value; of texts nothing."""
    maximum: ParameterValue | None = None
    pattern: Annotated[str, StringConstraints(max_length=200)] = ""
    """Of texts: a regular expression, in Python's syntax without nested repeats, that all of it matches."""


_NESTED = re.compile(r"\([^()]*[+*}][^()]*\)\s*[+*{]")
"""A repeat of a group with a repeat in it, which may take a time that grows by powers of two."""


def spec_problems(parameters: Mapping[str, ParameterSpec], path: str) -> list[FieldError]:
    """What is wrong with specifications of parameters."""
    found: list[FieldError] = []
    for name, spec in parameters.items():
        where = f"{path}.{name}"
        if spec.pattern:
            if spec.type is not ParameterType.STRING:
                found.append(_error(f"{where}.pattern", f"is nothing of type {spec.type}", "leave it out"))
            found += _of_pattern(spec.pattern, f"{where}.pattern")
        for bound in ("minimum", "maximum"):
            if (value := getattr(spec, bound)) is not None:
                found += _of_bound(spec.type, value, f"{where}.{bound}")
        found += [
            error
            for number, value in enumerate(spec.choices)
            for error in _problems(spec.model_copy(update={"choices": ()}), value, f"{where}.choices[{number}]")
        ]
        if spec.default is not None and not found:
            found += _problems(spec, spec.default, f"{where}.default")
    return found


def _of_pattern(pattern: str, path: str) -> list[FieldError]:
    if _NESTED.search(pattern):
        return [_error(path, "repeats a group that repeats, which may take for ever", "write it without")]
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return [_error(path, f"is no regular expression: {error}", "mend it")]
    return []


def _of_bound(type: ParameterType, value: str, path: str) -> list[FieldError]:
    if type in (ParameterType.STRING, ParameterType.BOOLEAN):
        return [_error(path, f"is nothing of type {type}", "leave it out")]
    return [_error(path, problem, "mend it")] if (problem := _parsed(type, value)[1]) else []


def bound(
    parameters: Mapping[str, ParameterSpec], given: Mapping[str, str], path: str = "parameters"
) -> tuple[dict[str, str], list[FieldError]]:
    """The values of a run: those that are given, and defaults for the others; and what is wrong with them."""
    errors = [
        _error(f"{path}.{name}", "is no parameter of this pipeline", _known(parameters))
        for name in given
        if name not in parameters
    ]
    values: dict[str, str] = {}
    for name, spec in parameters.items():
        value = given.get(name, spec.default)
        if value is None:
            if spec.required:
                errors.append(_error(f"{path}.{name}", "is not given, and has no default", f"give {name}=…"))
            continue
        errors += _problems(spec, value, f"{path}.{name}")
        values[name] = value
    return values, errors


def _known(parameters: Mapping[str, ParameterSpec]) -> str:
    return f"its parameters are {', '.join(list(parameters)[:20])}" if parameters else "it has none"


def typed(parameters: Mapping[str, ParameterSpec], values: Mapping[str, str]) -> dict[str, Any]:
    """Values that `bound` accepted as Python's: str, int, float, bool, date, aware datetime; None for those that have
    no value."""
    return {name: _parsed(spec.type, values[name])[0] if name in values else None for name, spec in parameters.items()}


def _problems(spec: ParameterSpec, text: str, path: str) -> list[FieldError]:
    value, problem = _parsed(spec.type, text)
    if problem:
        return [_error(path, problem, f"give a value of type {spec.type}")]
    if spec.choices and text not in spec.choices:
        return [_error(path, f"is {shown(text)}", f"choose one of {', '.join(spec.choices[:20])}")]
    if problem := _out_of_bounds(spec, value, text):
        return [_error(path, problem, "give another one")]
    if spec.pattern and re.fullmatch(spec.pattern, text) is None:
        return [_error(path, f"is {shown(text)}, which does not match {spec.pattern}", "give another one")]
    return []


def _out_of_bounds(spec: ParameterSpec, value: Any, text: str) -> str:
    """What is wrong with a value beside the least and the greatest one."""
    for limit_text, word in ((spec.minimum, "least"), (spec.maximum, "greatest")):
        if limit_text is None:
            continue
        limit, unusable = _parsed(spec.type, limit_text)
        if not unusable and (value < limit if word == "least" else value > limit):
            return f"is {shown(text)}, and the {word} value is {limit_text}"
    return ""


def _parsed(type: ParameterType, text: str) -> tuple[Any, str]:
    """The value, or what is wrong with it."""
    try:
        match type:
            case ParameterType.STRING:
                return text, ""
            case ParameterType.INTEGER:
                if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or abs(int(text)) >= 1 << 63:
                    raise ValueError
                return int(text), ""
            case ParameterType.NUMBER:
                if not math.isfinite(number := float(text)):
                    raise ValueError
                return number, ""
            case ParameterType.BOOLEAN:
                return {"true": True, "false": False}[text], ""
            case ParameterType.DATE:
                return date.fromisoformat(text), ""
            case ParameterType.TIMESTAMP:
                time = datetime.fromisoformat(text)
                return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC), ""
    except (ValueError, KeyError, OverflowError):
        return None, f"is {shown(text)}, which is no {type}"


def _error(field: str, problem: str, hint: str) -> FieldError:
    return FieldError(field=field, problem=problem, hint=hint)
