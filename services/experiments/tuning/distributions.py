"""Whether two values of a parameter are drawn from distributions of one kind, so that an algorithm can learn from both.

Knows of Optuna's JSON what that takes: a name, whether it is logarithmic, the choices. Bounds and steps may differ.
"""

from __future__ import annotations

import json
import math
import re
import sys
from itertools import accumulate
from typing import Any

from events.language.common import shown
from events.log.repeats import repeated_key


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
    """What is wrong with a distribution; empty if nothing is. One that Optuna can't make again from its JSON would end
    every program that reads the tuning's trials from then on."""
    if wrong := no_json(distribution) or _repeats(distribution):
        return wrong
    found = json.loads(distribution)
    name, attributes = (found.get("name"), found.get("attributes")) if isinstance(found, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(attributes, dict):
        return 'is no object with a "name" and "attributes"'
    if name == _CATEGORICAL:
        return _wrong_choices(attributes)
    if name not in _RANGES:
        return f"has the name {shown(name)}, which is none of {', '.join((*_RANGES, _CATEGORICAL))}"
    return _wrong_range(attributes, _RANGES[name])


_CATEGORICAL = "CategoricalDistribution"

_RANGES: dict[str, frozenset[str]] = {
    "FloatDistribution": frozenset(("log", "step")),
    "IntDistribution": frozenset(("log", "step")),
    "UniformDistribution": frozenset(),
    "LogUniformDistribution": frozenset(),
    "DiscreteUniformDistribution": frozenset(("q",)),
    "IntUniformDistribution": frozenset(("step",)),
    "IntLogUniformDistribution": frozenset(("step",)),
}
"""Optuna's distributions between two bounds, with what else each may have. The later ones are of earlier versions."""


def _wrong_choices(attributes: dict[str, Any]) -> str:
    choices = attributes.get("choices")
    if not isinstance(choices, list):
        return "has choices that are no list"
    if not choices:
        return "has no choices"
    return _unknown(attributes, frozenset(("choices",)))


def _wrong_range(attributes: dict[str, Any], more: frozenset[str]) -> str:
    for name in ("low", "high"):
        if not _is_number(attributes.get(name)):
            return f"has {shown(attributes.get(name))} as its {name}, which is no finite number"
    if attributes["low"] > attributes["high"]:
        return f"goes from {attributes['low']:g} to {attributes['high']:g}, which is less"
    log = attributes.get("log", False)
    if not isinstance(log, bool):
        return f"has {shown(log)} as log, which is neither true nor false"
    if log and attributes["low"] <= 0:
        return f"is logarithmic and begins at {attributes['low']:g}, which is not above 0"
    for name in ("step", "q"):
        step = attributes.get(name)
        if step is not None and not (_is_number(step) and step > 0):
            return f"has {shown(step)} as its {name}, which is no finite number above 0"
    return _unknown(attributes, more | {"low", "high"})


def _unknown(attributes: dict[str, Any], known: frozenset[str]) -> str:
    more = next((name for name in attributes if name not in known), None)
    return "" if more is None else f"has the attribute {shown(more)}, which it can't have"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _repeats(text: str) -> str:
    key = repeated_key(text.encode(errors="surrogatepass"))
    return "" if key is None else f"has the key {shown(key)} twice in one object"


def misfit(value: float, distribution: str) -> str:
    """Why no program can have a value by which a distribution counts; empty if one can. Bounds are for programs to
    keep: Optuna's let a fixed value lie beyond them."""
    name, attributes = _parts(distribution)
    choices = attributes.get("choices")
    if choices is not None and value not in range(len(choices)):
        return f"is {value:g}, which is the number of none of the {len(choices)} choices"
    if name.startswith("Int") and not (math.isfinite(value) and value.is_integer()):
        return f"is {value:g}, which is no whole number"
    if name.startswith("Int") and not -_MOST_WHOLE <= value < _MOST_WHOLE:
        return f"is {value:g}, which is no whole number of 64 bits"
    return ""


_MOST_WHOLE = 2.0**63


def external(value: float, distribution: str) -> Any:
    """A parameter's value as its program has it, of the number by which its distribution counts it."""
    name, attributes = _parts(distribution)
    if (choices := attributes.get("choices")) is not None:
        return choices[int(value)]
    return int(value) if name.startswith("Int") and abs(value) < _MOST_WHOLE else value


def no_json(text: str) -> str:
    """What is wrong with a text as JSON, in which ``NaN`` and ``Infinity`` may stand; empty if nothing is. A later
    reader may be called by many others, and could not read what is nested much deeper."""
    try:
        json.loads(text)
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return "is no JSON"
    return _TOO_DEEP if _depth(text) > _MOST_DEPTH else ""


_MOST_DEPTH = 100
_TOO_DEEP = f"is nested deeper than {_MOST_DEPTH} levels"
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


def _depth(text: str) -> int:
    """How many brackets of a JSON text are open at the same time, at most."""
    if text.count("[") + text.count("{") <= _MOST_DEPTH:
        return 0
    steps = (1 if sign in "[{" else -1 for sign in _TEXT.sub("", text) if sign in "[]{}")
    return max(accumulate(steps), default=0)


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
