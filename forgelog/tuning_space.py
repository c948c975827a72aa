"""A search space as people type it: ``lr=1e-5..0.1 log``, ``layers=1..4``, ``optimizer=adam,sgd``.

    NAME=LOW..HIGH [step STEP | log] [when OTHER=VALUE[,VALUE...]]
    NAME=VALUE,VALUE,... [when ...]

and what is said of trials beside it: ``asha min_steps=2 reduction_factor=3``, ``val_loss:min``.

Whole bounds make whole numbers; a point or an exponent in one of them makes floats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from forgelog.errors import InvalidInput

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})((?:\s+(?:log|step\s+{_NUMBER}))*)")
_WHOLE = re.compile(r"[+-]?\d+")
FORM = "write NAME=LOW..HIGH, with 'log' or 'step STEP' behind it, or NAME=VALUE,VALUE; 'when OTHER=VALUE' may follow"


def dimension(text: str, option: str = "--param") -> dict[str, Any]:
    """A dimension, as `CreateTuning` takes it. `option`: by which it was given. Raises `InvalidInput`."""
    name, found, rest = text.partition("=")
    name = name.strip()
    if not found or not name:
        raise InvalidInput(f"{option} {text!r}: has no name and values; {FORM}")
    said, conditional, when = rest.partition(" when ")
    made = {"name": name, **_values(text, said.strip(), option)}
    if conditional:
        other, equals, values = when.partition("=")
        if not equals or not other.strip() or not values.strip():
            raise InvalidInput(f"{option} {text!r}: the condition {when.strip()!r} is no OTHER=VALUE; {FORM}")
        made["when"] = {"name": other.strip(), "values": [_choice(value) for value in values.split(",")]}
    return made


def dimension_text(made: Mapping[str, Any]) -> str:
    """A dimension as people type it."""
    if made["kind"] == "categorical":
        said = ",".join(map(_typed, made["choices"]))
    else:
        number = str if made["kind"] == "float" else lambda value: str(int(value))
        said = f"{number(made['low'])}..{number(made['high'])}"
        said += " log" if made.get("log") else ""
        said += f" step {number(step)}" if (step := made.get("step")) is not None else ""
    if (when := made.get("when")) is not None:
        said += f" when {when['name']}={','.join(map(_typed, when['values']))}"
    return f"{made['name']}={said}"


def _typed(choice: str) -> str:
    """A choice without its quotes, where it is read alike."""
    value = json.loads(choice)
    return value if isinstance(value, str) and _choice(value) == choice else choice


TAKES = ("last", "best", "min", "max")


def objective(text: str, every: int) -> dict[str, Any]:
    """An objective: the name of a metric, behind a colon which of its points counts. A name may have colons too."""
    name, _, take = text.rpartition(":")
    if not name or take not in TAKES:
        name, take = text, "last"
    return {"metric": name, "take": take, "every": every}


def pruning(text: str) -> dict[str, Any]:
    """When trials are given up: a rule, and its numbers. Raises `InvalidInput`."""
    rule, *numbers = text.split()
    made: dict[str, Any] = {"rule": rule}
    for each in numbers:
        name, equals, value = each.partition("=")
        if not equals or not _WHOLE.fullmatch(value):
            raise InvalidInput(f"--prune {text!r}: {each!r} is no NAME=NUMBER; write 'asha min_steps=2', for example")
        made[name] = int(value)
    return made


def _values(text: str, said: str, option: str) -> dict[str, Any]:
    if ".." not in said:
        choices = [_choice(value) for value in said.split(",")]
        if not all(value.strip() for value in said.split(",")):
            raise InvalidInput(f"{option} {text!r}: has an empty value; {FORM}")
        return {"kind": "categorical", "choices": choices}
    match = _RANGE.fullmatch(said)
    if match is None:
        raise InvalidInput(f"{option} {text!r}: {said!r} is no range; {FORM}")
    words = match[3].split()
    made: dict[str, Any] = {"low": float(match[1]), "high": float(match[2])}
    numbers = [match[1], match[2]]
    if "log" in words:
        made["log"] = True
    if "step" in words:
        numbers.append(words[words.index("step") + 1])
        made["step"] = float(numbers[-1])
    made["kind"] = "int" if all(_WHOLE.fullmatch(number) for number in numbers) else "float"
    return made


def _choice(value: str) -> str:
    """JSON of what is meant: a number, true, false, null, or else the text."""
    value = value.strip()
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return json.dumps(value)
    return json.dumps(value) if isinstance(found, list | dict) else json.dumps(found)
