"""Odd values that the language takes, in the place of those that a command has."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import AwareDatetime, StringConstraints, ValidationError

from events.language.base import Model
from events.language.bounds import INT_MAX, INT_MIN, TIME_MAX, TIME_MIN
from events.language.common import MAX_COMMAND_BYTES
from events.language.planned import Planned
from proto.samples import full
from proto.shapes import unwrap

M = TypeVar("M", bound=Model)

TEXTS = (
    "",
    " ",
    " a ",
    "a\n",
    "a\nb",
    "a\tb\r",
    "\x01\x1b[31m",
    "\x7f",
    "\x85\u2028",
    "\u202eevil\u200f",
    "\u200b",
    "\ufeff",
    "\uffff",
    "🧪👩‍🚀",
    "é",
    "e\u0301",
    "İ",
    "ß",
    "A",
    ".",
    "..",
    "../..",
    "/",
    "a/b",
    "%s%n%",
    "{x}",
    "{0.__class__}",
    "${HOME}",
    "'\"`",
    "\\",
    "\\u0000",
    "\\ud800",
    "NaN",
    "-Infinity",
    "null",
    "true",
    "0",
    "-0",
    "1e999",
    "9" * 30,
    "a:b|c,d;e=f",
    "a.b.c",
    "-",
    "_",
    "--all",
    "*",
    "[",
    "(?P<x",
    "<b>&amp;",
    "2026-13-45",
    "0-9999",
    "con",
)
NESTED = 200
JSONS = (
    "null",
    "0",
    "-0.0",
    "1e308",
    "1e999",
    "NaN",
    "-Infinity",
    str(2**63),
    str(-(2**63)),
    "9" * 400,
    "9" * 5000,
    '""',
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\n\\t\\u001b"',
    '"' + "x" * 3000 + '"',
    "{}",
    "[]",
    '{"": 1}',
    '{"a": 1, "a": 2}',
    '{"\\u0000": "\\u0000"}',
    '{"\\ud800": ["\\udfff"]}',
    "[" * NESTED + "]" * NESTED,
    "[" * 20_000 + "]" * 20_000,
    '{"a":' * NESTED + "1" + "}" * NESTED,
    " 1 ",
    "true",
)
INTS = (0, 1, -1, 2**31, 2**32, 2**53 + 1, INT_MAX, INT_MIN)
FLOATS = (0.0, -0.0, 1.0, 1e-320, 1e308, -1e308, 0.1, 2.0**63)
LENGTHS = (64, 128, 200, 255, 256, 500, 1000, 2000, 4000, 10_000)

_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|NaN')

MOST_TEXT = 20_000
"""Characters of the longest text that is tried."""

Path = tuple[Any, ...]


class Odd:
    """Replaces values, as one sequence of random numbers says."""

    def __init__(self, numbers: random.Random, rate: float = 0.3, *, scalars: bool = False) -> None:
        self._numbers = numbers
        self._rate = rate
        self._scalars = scalars
        self._focus: frozenset[type] = frozenset()
        self._names: dict[str, str] = {}
        """What a text was replaced by in all commands."""

    def focus(self, kinds: Iterable[type[Model]]) -> None:
        """Change these always and much, all others never: what comes before them is then as it was."""
        self._focus = frozenset(kinds)

    def rename(self, names: Mapping[str, str]) -> None:
        """Replace texts by others wherever they are the whole of a value or a key, and a command takes it."""
        self._names.update(names)

    def text(self, old: str) -> str:
        """An odd text in place of another."""
        return self._text((), old)

    def of(self, model: M) -> M:
        """The model, or one that has other values and is as valid."""
        if self._names:
            model = self._renamed(model)
        if self._focus:
            changes = self._numbers.choice((1, 2, 4, 8, 16)) if type(model) in self._focus else 0
        else:
            changes = self._numbers.choice((1, 1, 2, 4)) if self._numbers.random() < self._rate else 0
        for _ in range(changes):
            model = self._changed(model)
        return model

    def _renamed(self, model: M) -> M:
        for path, value in list(_texts(model.model_dump(mode="json"))):
            if (name := self._names.get(value)) is not None:
                model = _put(model, path, name) or model
        return model

    def _changed(self, model: M) -> M:
        """With one other value: a few tries."""
        places = list(_places(type(model), model.model_dump(), ()))
        if not places:
            return model
        for _ in range(6):
            path, kind, bounds, nullable = self._numbers.choice(places)
            if self._scalars and get_origin(kind) is not None:
                continue
            data = model.model_dump()
            old = _get(data, path)
            new = self._value(kind, bounds, nullable, old)
            if (changed := _put(model, path, new)) is not None and changed != model:
                return changed
        return model

    def _value(self, kind: Any, bounds: tuple[Any, ...], nullable: bool, old: Any) -> Any:
        numbers, origin = self._numbers, get_origin(kind)
        if nullable and old is not None and numbers.random() < 0.15:
            return None
        if origin in (tuple, list):
            return self._many(list(old or ()), get_args(kind)[0], bounds)
        if origin is dict:
            return self._mapping(dict(old or {}), bounds, *get_args(kind))
        if kind is AwareDatetime:
            return numbers.choice((TIME_MIN, TIME_MAX))
        if kind is bool:
            return not old
        if kind in (int, float):
            return numbers.choice((*_ends(bounds, kind), *(INTS if kind is int else (*INTS, *FLOATS))))
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return numbers.choice(list(kind))
        if isinstance(kind, type) and issubclass(kind, Model):
            return full(kind).model_dump() if old is None else old
        return self._text(bounds, old)

    def _text(self, bounds: tuple[Any, ...], old: Any) -> str:
        numbers = self._numbers
        old = old if isinstance(old, str) else "a"
        longest = [each.max_length for each in bounds if isinstance(each, StringConstraints) and each.max_length]
        longest += [each.max_length for each in bounds if isinstance(each, MaxLen)]
        if (chance := numbers.random()) < 0.2:
            most = min(longest, default=numbers.choice(LENGTHS))
            piece = numbers.choice((old or "a", "a", "🧪", "é", '"', "\x01"))
            return (piece * (min(most, MOST_TEXT) // len(piece) + 1))[: min(most, MOST_TEXT)]
        if old[:1] in ("{", "[") and chance < 0.8 and _is_json(old):
            return self._within_json(old)
        if chance < (0.7 if _is_json(old) else 0.35):
            return numbers.choice(JSONS)
        if chance < 0.5:
            return numbers.choice(
                (old.upper(), old.title(), f" {old}", f"{old} ", f"{old}\n", f"{old}/..", f"{old}\u0301")
            )
        return numbers.choice(TEXTS)

    def _within_json(self, text: str) -> str:
        """JSON with another value somewhere in it, put in as a text: not all of `JSONS` can be read."""
        marks = [match.span() for match in _SCALAR.finditer(text)]
        if not marks:
            return self._numbers.choice(JSONS)
        start, end = self._numbers.choice(marks)
        return f"{text[:start]}{self._numbers.choice(JSONS)}{text[end:]}"

    def _many(self, old: list[Any], kind: Any, bounds: tuple[Any, ...]) -> list[Any]:
        inner, within, nullable = unwrap(kind, ())
        most = min([each.max_length for each in bounds if isinstance(each, MaxLen)], default=50)
        choice = self._numbers.random()
        if choice < 0.25:
            return []
        if choice < 0.5 and old:
            return (old * most)[: min(most, self._numbers.choice((2, 3, 1000)))]
        sample = full(inner).model_dump() if _is_model(inner) else self._value(inner, within, nullable, None)
        return [*old, sample]

    def _mapping(self, old: dict[Any, Any], bounds: tuple[Any, ...], key: Any, value: Any) -> dict[Any, Any]:
        inner, within, nullable = unwrap(value, ())
        named, of_name, _ = unwrap(key, ())
        most = min([each.max_length for each in bounds if isinstance(each, MaxLen)], default=50)
        choice = self._numbers.random()
        if choice < 0.15:
            return {}
        if choice < 0.3 and old:
            first = next(iter(old.values()))
            return {f"k{number}": first for number in range(min(most, self._numbers.choice((2, 1000))))}
        name = self._value(named, of_name, False, None)
        if old and choice < 0.6:
            name, content = self._value(named, of_name, False, next(iter(old))), next(iter(old.values()))
            return {**old, name: content}
        content = full(inner).model_dump() if _is_model(inner) else self._value(inner, within, nullable, None)
        return {**old, name: content}


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _ends(bounds: tuple[Any, ...], kind: type) -> list[Any]:
    found: list[Any] = []
    for each in bounds:
        if isinstance(each, Ge):
            found.append(each.ge)
        elif isinstance(each, Le):
            found.append(each.le)
        elif isinstance(each, Gt):
            found.append(each.gt + 1 if kind is int else each.gt + 5e-324)  # type: ignore[operator]
        elif isinstance(each, Lt):
            found.append(each.lt - 1)  # type: ignore[operator]
    return found


def _places(model: type[Model], data: Any, path: Path) -> Iterator[tuple[Path, Any, tuple[Any, ...], bool]]:
    """Every value of a model's data: where it is, its kind, its bounds, and whether it may be None."""
    if not isinstance(data, dict):
        return
    for name, info in model.model_fields.items():
        if name not in data or any(isinstance(each, Planned) or each is Planned for each in info.metadata):
            continue
        kind, bounds, nullable = unwrap(info.annotation, tuple(info.metadata))
        yield from _within(kind, bounds, nullable, data[name], (*path, name))


def _within(
    kind: Any, bounds: tuple[Any, ...], nullable: bool, value: Any, path: Path
) -> Iterator[tuple[Path, Any, tuple[Any, ...], bool]]:
    origin = get_origin(kind)
    if _is_model(kind) and value is not None:
        yield from _places(kind, value, path)
        return
    yield path, kind, bounds, nullable
    if origin in (tuple, list):
        inner = unwrap(get_args(kind)[0], ())
        for number, each in enumerate(list(value or ())[:20]):
            yield from _within(*inner, each, (*path, number))
    elif origin is dict:
        inner = unwrap(get_args(kind)[1], ())
        for key, each in list((value or {}).items())[:20]:
            yield from _within(*inner, each, (*path, key))


def texts_of(model: Model) -> set[str]:
    """The texts that are values of a model's fields."""
    return {text for _, text in _texts(model.model_dump(mode="json"))}


def _texts(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _texts(value, (*path, key))
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            yield from _texts(value, (*path, number))
    elif isinstance(data, str):
        yield path, data


def _get(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _put(model: M, path: Path, value: Any) -> M | None:
    """The model with another value at a place; None where it does not take it."""
    data = model.model_dump()
    holder: Any = data
    for step in path[:-1]:
        below = holder[step]
        if isinstance(below, tuple):
            below = holder[step] = list(below)
        holder = below
    if isinstance(holder, tuple):
        return None
    holder[path[-1]] = value
    try:
        text = json.dumps(data, default=_plain, allow_nan=False)
        return type(model).model_validate_json(text) if len(text) <= MAX_COMMAND_BYTES else None
    except (ValidationError, ValueError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    return value.isoformat()
