"""Conditions of stages: expressions of CEL (https://cel.dev), held to what can be evaluated in microseconds. Pure.

An expression knows ``stages.<id>`` (``status``, ``attempt``, ``rows``, ``value``, ``metrics``), ``parameters.<name>``
and ``run`` (``number``, ``trigger``, ``interval_start``, ``interval_end``). Its value is true or false. Macros that go
through lists (``map``, ``filter``, ``all``, ``exists``, ``exists_one``) are refused: one in another takes the product
of their lengths, and an evaluation can't be interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import StringConstraints

from events.language.common import FieldError, shown

MAX_CONDITION = 2_000
"""Most characters of a condition."""

Condition = Annotated[str, StringConstraints(max_length=MAX_CONDITION)]

_STRING = re.compile(r"""[rRbB]{0,2}(?:\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""", re.DOTALL)
_MACRO = re.compile(r"\.\s*(map|filter|all|exists|exists_one|transformList|transformMap)\s*\(")
_VALUE = re.compile(r"\.\s*value\b")
_STAGE = re.compile(r"\bstages\s*\.\s*([A-Za-z0-9_]+)|\bstages\s*\[\s*(['\"])([^'\"]*)\2\s*\]")

_MOST_TOLD = 300


class ConditionError(ValueError):
    """A condition has no value; the text says why."""


def problems(text: str, stages: Sequence[str], parameters: Mapping[str, Any], path: str) -> list[FieldError]:
    """What is wrong with a condition. `stages`: those that it may know, by id. `parameters`: values as they may be."""
    bare = _STRING.sub("''", text)
    macros = _MACRO.findall(bare)
    if macros:
        return [_error(path, f"uses the macro {macros[0]}, which may run for hours", "compare values instead")]
    named = {found[0] or found[2] for found in _STAGE.findall(text)}
    if unknown := sorted(named - set(stages)):
        known = ", ".join(stages[:10]) or "none: it waits for no stage"
        return [_error(path, f"names the stage {shown(unknown[0])}, which has not ended then", f"those are {known}")]
    if _VALUE.search(bare):
        return _of_text(text, path)  # what functions return is not known beforehand
    sample = {id: stage_value("completed") for id in stages}
    try:
        holds(text, sample, parameters, run_value(1, "manual"))
    except ConditionError as error:
        return [_error(path, str(error), "mend it; 'stages.load.rows > 0' is a condition")]
    return []


def _of_text(text: str, path: str) -> list[FieldError]:
    from cel import cel  # the module itself: another library has a `cel/__init__.py`, too, which is empty

    try:
        cel.compile(text)
    except Exception as error:  # noqa: BLE001 - the library's errors are of many types, all of them about the text
        return [_error(path, _first_line(error), "mend it; 'stages.load.rows > 0' is a condition")]
    return []


def _first_line(error: Exception) -> str:
    lines = (line for line in str(error).splitlines() if line.strip())
    return next(lines, type(error).__name__)[:_MOST_TOLD]


def holds(
    text: str, stages: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, Any], run: Mapping[str, Any]
) -> bool:
    """Whether a condition holds. Raises ConditionError."""
    from cel import cel

    try:
        value = cel.evaluate(text, {"stages": stages, "parameters": parameters, "run": run})
    except KeyError as error:
        raise ConditionError(f"there is no {error.args[0] if error.args else 'such key'!r} in it") from None
    except Exception as error:  # noqa: BLE001 - the library's errors are of many types, all of them about the text
        raise ConditionError(_first_line(error)) from None
    if not isinstance(value, bool):
        raise ConditionError(f"its value is {shown(value)}, not true or false")
    return value


def stage_value(
    status: str, *, attempt: int = 1, rows: int = 0, value: Any = None, metrics: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A stage as conditions know it."""
    known = {
        "rows_read": 0,
        "rows_written": 0,
        "bytes_read": 0,
        "bytes_written": 0,
        "rejected_rows": 0,
        "late_rows": 0,
        "held_rows": 0,
        "seconds": 0.0,
    }
    return {
        "status": status,
        "attempt": attempt,
        "rows": rows,
        "value": value,
        "metrics": {name: (metrics or {}).get(name, default) for name, default in known.items()},
    }


def run_value(number: int, trigger: str, interval_start: Any = None, interval_end: Any = None) -> dict[str, Any]:
    """A run as conditions know it."""
    return {"number": number, "trigger": trigger, "interval_start": interval_start, "interval_end": interval_end}


def _error(field: str, problem: str, hint: str) -> FieldError:
    return FieldError(field=field, problem=problem, hint=hint)
