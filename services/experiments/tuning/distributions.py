"""Whether two values of a parameter are drawn from distributions of one kind, so that an algorithm can learn from both.

Knows of Optuna's JSON what that takes: a name, whether it is logarithmic, the choices. Bounds and steps may differ.
"""

from __future__ import annotations

import json
import math
from typing import Any


def conflict(first: str, later: str) -> str:
    """Why a distribution (JSON) does not go with the first one of its parameter; empty if it does."""
    if first == later:
        return ""
    one, other = _parts(first), _parts(later)
    if one[0] != other[0]:
        return f"is {_named(other[0])}, but {_named(one[0])} in an earlier trial"
    before, now = one[1], other[1]
    if bool(before.get("log")) != bool(now.get("log")):
        return f"is {_scale(now)}, but {_scale(before)} in an earlier trial"
    if not _same(before.get("choices"), now.get("choices")):
        return "has other choices, or in another order, than in an earlier trial"
    return ""


def problem(distribution: str) -> str:
    """What is wrong with a distribution; empty if nothing is."""
    if wrong := no_json(distribution):
        return wrong
    found = json.loads(distribution)
    name, attributes = (found.get("name"), found.get("attributes")) if isinstance(found, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(attributes, dict):
        return 'is no object with a "name" and "attributes"'
    choices = attributes.get("choices")
    return "has choices that are no list" if choices is not None and not isinstance(choices, list) else ""


def misfit(value: float, distribution: str) -> str:
    """Why no program can have a value by which a distribution counts; empty if one can. Bounds are for programs to
    keep: Optuna's let a fixed value lie beyond them."""
    name, attributes = _parts(distribution)
    choices = attributes.get("choices")
    if choices is not None and value not in range(len(choices)):
        return f"is {value:g}, which is the number of none of the {len(choices)} choices"
    if name.startswith("Int") and not math.isfinite(value):
        return f"is {value:g}, which is no whole number"
    return ""


def external(value: float, distribution: str) -> Any:
    """A parameter's value as its program has it, of the number by which its distribution counts it."""
    name, attributes = _parts(distribution)
    if (choices := attributes.get("choices")) is not None:
        return choices[int(value)]
    return int(value) if name.startswith("Int") else value


def no_json(text: str) -> str:
    """What is wrong with a text as JSON, in which ``NaN`` and ``Infinity`` may stand; empty if nothing is."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "is no JSON"
    return ""


def _parts(distribution: str) -> tuple[str, dict[str, Any]]:
    found = json.loads(distribution)
    return found["name"], found["attributes"]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)  # two NaN are one choice


def _named(name: str) -> str:
    return f"a {name}"


def _scale(attributes: dict[str, Any]) -> str:
    return "logarithmic" if attributes.get("log") else "not logarithmic"
