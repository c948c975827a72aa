"""A request's fields, as MLflow's clients send them: JSON, or parameters of a URL.

Whole numbers may come as texts, and an enum as its word or its number. Fields that are not known are passed over, as
MLflow's server does: clients of other versions send some. Knows no endpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from starlette.requests import Request

from events.language.common import shown
from services.gateway.errors import DoorError
from services.gateway.http_bodies import json_of, read_body

MAX_BODY_BYTES = 4 << 20

_ROUTED = frozenset({"organization", "name", "version", "rest"})
"""Parts of a path that say which endpoint of which project it is."""

_INT64 = range(-(1 << 63), 1 << 63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)


class Asked:
    """The fields. Every method raises DoorError that names the field."""

    def __init__(self, fields: Mapping[str, Any], at: str = "") -> None:
        """`at`: what the fields' names begin with in refusals."""
        self._fields = fields
        self._at = at

    @classmethod
    async def of(cls, request: Request, most: int = MAX_BODY_BYTES) -> Asked:
        """Of a request's URL, and of its body where it has one, of at most so many bytes."""
        found: dict[str, Any] = {}
        for name, value in request.query_params.multi_items():
            if name in found:
                before = found[name]
                found[name] = [*before, value] if isinstance(before, list) else [before, value]
            else:
                found[name] = value
        if request.method != "GET":
            body = await read_body(request, most)
            data = json_of(body) if body.strip() else {}
            if not isinstance(data, dict):
                raise DoorError.about("(body)", f"is {shown(data)}", "give a JSON object")
            found |= data
        return cls({**found, **{name: value for name, value in request.path_params.items() if name not in _ROUTED}})

    def place(self, name: str) -> str:
        """How a refusal names this field."""
        return f"{self._at}{name}"

    def text(self, *names: str, required: bool = False) -> str:
        """The first of these fields that is there; empty if none is."""
        for name in names:
            value = self._fields.get(name)
            if value is None or value == "":
                continue
            if not isinstance(value, str):
                self._wrong(name, f"{shown(value)} is not text", "give text")
            return str(value)
        if required:
            self._wrong(names[0], "is missing", "give it")
        return ""

    def given(self, *names: str) -> tuple[Any, ...]:
        """These fields as they came, unchecked: requests with the same ones mean the same."""
        return tuple([self._fields.get(name) for name in names])

    def integer(self, name: str) -> int | None:
        """A whole number of 64 bits; None if it is not there."""
        value = self._fields.get(name)
        if type(value) is int and value in _INT64:  # a batch has thousands of them
            return value
        if value is None or value == "":
            return None
        try:
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            number = _INT64.stop
        if number not in _INT64:
            self._wrong(name, f"{shown(value)} is not a whole number of 64 bits", "give one")
        return number

    def number(self, name: str) -> float:
        """A number; ``NaN``, ``Infinity`` and ``-Infinity`` are words."""
        value = self._fields.get(name)
        if type(value) is float:
            return value
        try:
            if isinstance(value, bool) or value is None:
                raise ValueError
            return float(value)
        except (TypeError, ValueError, OverflowError):
            problem = "is missing" if value is None else f"{shown(value)} is not a number"
            return self._wrong(name, problem, "give a number, or one of the words NaN, Infinity, -Infinity")

    def flag(self, name: str, usual: bool = False) -> bool:
        """Yes or no; `usual` if it is not there."""
        value = self._fields.get(name)
        if isinstance(value, str):
            value = {"true": True, "false": False, "": None}.get(value.lower(), value)
        if not isinstance(value, bool | None):
            self._wrong(name, f"{shown(value)} is neither true nor false", "give one of them")
        return usual if value is None else value

    def milliseconds(self, name: str) -> int:
        """A time in milliseconds since 1970, as it is; 0 if it is not there."""
        return self.integer(name) or 0

    def time(self, name: str) -> datetime | None:
        """A time in milliseconds since 1970; None if it is not there, or 0."""
        ms = self.integer(name)
        if not ms:
            return None
        try:
            return min(_EPOCH + timedelta(milliseconds=ms), _LAST)
        except OverflowError:
            self._wrong(name, f"{ms} is no time", "give milliseconds since 1970")

    def word(self, name: str, words: Sequence[str]) -> str:
        """One of an enum's words, by itself or by its number from 1 on; empty if it is not there."""
        value = self._fields.get(name)
        if value is None or value == "":
            return ""
        if isinstance(value, str) and value in words:
            return value
        number = self.integer(name) if not isinstance(value, str) or value.isdecimal() else None
        if number is None or not 0 < number <= len(words):
            self._wrong(name, f"{shown(value)} is none of {', '.join(words)}", "give one of them")
        return words[number - 1]

    def texts(self, name: str) -> list[str]:
        """A list of texts; one alone may stand without a list."""
        value = self._fields.get(name)
        values = value if isinstance(value, list) else [] if value is None else [value]
        for index, each in enumerate(values):
            if not isinstance(each, str):
                self._wrong(f"{name}[{index}]", f"{shown(each)} is not text", "give text")
        return list(values)

    def parts(self, name: str) -> list[Asked]:
        """The objects of a list."""
        value = self._fields.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong(name, f"{shown(value)} is no list", "give a list of objects")
        for index, each in enumerate(value):
            if not isinstance(each, dict):
                self._wrong(f"{name}[{index}]", f"{shown(each)} is no object", "give an object")
        return [Asked(each, f"{self._at}{name}[{index}].") for index, each in enumerate(value)]

    def part(self, name: str) -> Asked:
        """An object that has to be there."""
        value = self._fields.get(name)
        if not isinstance(value, dict):
            self._wrong(name, "is missing" if value is None else f"{shown(value)} is no object", "give an object")
        return Asked(value, f"{self._at}{name}.")

    def pairs(self, name: str) -> dict[str, str]:
        """Keys and values. Raises for a key that is given two values."""
        found: dict[str, str] = {}
        for part in self.parts(name):
            key, value = part.text("key", required=True), part.text("value")
            if found.setdefault(key, value) != value:
                part._wrong("key", f"{shown(key)} is given two values", "give it one")
        return found

    def most(self, name: str, usual: int, limit: int) -> int:
        """How many results are wanted; `usual` if that is not said. More than `limit` come page by page."""
        wanted = self.integer(name)
        if wanted is not None and wanted < 1:
            self._wrong(name, f"is {wanted}", "ask for 1 or more")
        return min(wanted or usual, limit)

    def wrong(self, name: str, problem: str, hint: str) -> NoReturn:
        """Refuse the request because of this field."""
        self._wrong(name, problem, hint)

    def _wrong(self, name: str, problem: str, hint: str) -> NoReturn:
        raise DoorError.about(self.place(name), problem, hint)


def word_of(number: float) -> float | str:
    """A number as MLflow's JSON has it: what is not finite is a word."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
