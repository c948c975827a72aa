"""Queries as JSON: requests from bodies and URL parameters, answers to JSON, by their descriptors alone.

The JSON is the language's own, as in the log: snake_case names, lower-case enum words (``running``), RFC 3339 times,
whole numbers as numbers; bytes are base64; NaN, Infinity and -Infinity are words. Requests are taken in protobuf's JSON
form too (camelCase, numbers as text, ``JOB_STATUS_RUNNING``). A field or word that does not exist is refused with the
nearest that does. Knows no method.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import grpc
import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from events.language.common import FieldError
from events.language.convert import to_dict
from events.language.proto_names import enum_prefix
from events.language.wording import WHOLE, close_to, shown_json
from events.process.numbers import with_words
from services.gateway.errors import DoorError

Descriptor = Any
"""Of a message. The pure and the upb implementation have types of their own for the same thing."""

READ_OPTIONS = "forgelog.query.v1.ReadOptions"
PAGE_REQUEST = "forgelog.query.v1.PageRequest"

EMBEDDED = {"forgelog.log.v1.LoggedEvent": "data"}
"""Messages with a text field that is JSON itself: it is shown as JSON, not as text with escapes."""

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_TWICE, _ONCE = "is given twice", "give it once"
_TRUTH = {"true": True, "1": True, "yes": True, "": True, "false": False, "0": False, "no": False}


# Requests


def request_from_json(data: Any, message_class: type[Message]) -> Message:
    """A request from a JSON body. Raises DoorError that names every wrong field."""
    reading = _Reading()
    shaped = reading.message(data, message_class.DESCRIPTOR, "")
    return reading.finish(shaped, message_class)


def request_from_parameters(pairs: Iterable[tuple[str, str]], message_class: type[Message]) -> Message:
    """A request from URL parameters: ``job_id=a``, ``statuses=running&statuses=queued``, ``labels.zone=b``, and
    ``as_of``, ``at_least``, ``limit``, ``cursor`` for what every query takes. Raises DoorError, also for a parameter
    that is given twice and may be given once."""
    data: dict[str, Any] = {}
    for name, value in pairs:
        if not _put(data, message_class.DESCRIPTOR, name, value):
            raise DoorError.about(name, _TWICE, _ONCE)
    return request_from_json(data, message_class)


def _put(data: dict[str, Any], descriptor: Descriptor, name: str, value: str) -> bool:
    """Add a parameter. False when its field takes one value and has it."""
    shortcut = shortcuts(descriptor).get(name)
    if shortcut is not None:
        inside = data.setdefault(shortcut.name, {})
        if not isinstance(inside, dict):
            return True  # it is given as a text, and will be refused for that
        data, descriptor = inside, shortcut.message_type
    while True:
        head, dot, rest = name.partition(".")
        field = _fields(descriptor).get(head)
        if not dot or field is None or field.message_type is None:
            break
        inside = data.setdefault(field.name, {})
        if not isinstance(inside, dict):
            break
        if is_map(field):
            data, name = inside, rest
            break
        data, descriptor, name = inside, field.message_type, rest
    field = _fields(descriptor).get(name)
    before = data.get(name, [])
    if field is not None and field.is_repeated and not is_map(field) and isinstance(before, list):
        data[name] = [*before, value]
        return True
    if name in data:
        return False
    data[name] = value
    return True


@cache
def shortcuts(descriptor: Descriptor) -> dict[str, Any]:
    """Fields of the options and the page that may be written without their message's name."""
    found: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.full_name in (READ_OPTIONS, PAGE_REQUEST):
            found.update({inner.name: field for inner in field.message_type.fields})
    return {name: field for name, field in found.items() if name not in descriptor.fields_by_name}


@cache
def _fields(descriptor: Descriptor) -> dict[str, Any]:
    """By name and by protobuf's JSON name."""
    return {field.json_name: field for field in descriptor.fields} | {field.name: field for field in descriptor.fields}


class _Reading:
    """Brings plain data into the form that protobuf's own parser takes, gathering what is wrong with it."""

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def finish(self, shaped: Any, message_class: type[Message]) -> Message:
        message = message_class()
        if not self._errors:
            try:
                return ParseDict(shaped, message)
            except ParseError as error:
                self._wrong(WHOLE, str(error))
        first, more = self._errors[0], len(self._errors) - 1
        where = "" if first.field == WHOLE else f"{first.field}: "
        text = f"{where}{first.problem}" + (f" (and {more} more)" if more else "")
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, text, self._errors)

    def _wrong(self, field: str, problem: str, hint: str = "") -> None:
        self._errors.append(FieldError(field=field or WHOLE, problem=problem, hint=hint))

    def message(self, data: Any, descriptor: Descriptor, path: str) -> Any:
        if not isinstance(data, Mapping):
            self._wrong(path, f"{shown_json(data)} is not an object", "give an object")
            return {}
        shaped: dict[str, Any] = {}
        given: set[str] = set()
        known = _fields(descriptor)
        for name, value in data.items():
            place = f"{path}.{name}" if path else str(name)
            field = known.get(name)
            shortcut = shortcuts(descriptor).get(name) if field is None and not path else None
            if shortcut is not None and value is None:
                continue
            if shortcut is not None:
                inside = shaped.setdefault(shortcut.name, {})
                if name in inside:
                    self._wrong(place, _TWICE, _ONCE)
                inside[name] = self._field(value, shortcut.message_type.fields_by_name[name], place)
            elif field is None:
                names = [each.name for each in descriptor.fields] + ([] if path else list(shortcuts(descriptor)))
                close = close_to(str(name), names)
                hint = f"did you mean {close!r}?" if close else f"there are {', '.join(names) or 'none'}"
                self._wrong(place, "there is no such field", hint)
            elif field.name in given:
                self._wrong(place, _TWICE, _ONCE)
            elif value is not None:
                given.add(field.name)
                before = shaped.get(field.name)  # what shortcuts put there
                found = self._field(value, field, place)
                for both in before.keys() & found.keys() if before else ():
                    self._wrong(f"{place}.{both}", _TWICE, _ONCE)
                shaped[field.name] = {**before, **found} if before else found
        return shaped

    def _field(self, value: Any, field: Any, path: str) -> Any:
        if is_map(field):
            if not isinstance(value, Mapping):
                self._wrong(path, f"{shown_json(value)} is not an object", "give an object of names and values")
                return {}
            inner = field.message_type.fields_by_name["value"]
            return {str(key): self._value(each, inner, f"{path}.{key}") for key, each in value.items()}
        if not field.is_repeated:
            return self._value(value, field, path)
        if not isinstance(value, list | tuple):
            value = [value]
        return [self._value(each, field, f"{path}[{index}]") for index, each in enumerate(value)]

    def _value(self, value: Any, field: Any, path: str) -> Any:
        if field.message_type is not None:
            return self._inner(value, field.message_type, path)
        if field.enum_type is not None:
            return self._enum(value, field.enum_type, path)
        if field.cpp_type in INTEGERS:
            return self._integer(value, INTEGERS[field.cpp_type], path)
        if field.cpp_type in _FLOATS:
            return self._float(value, path)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            truth = value if isinstance(value, bool) else _TRUTH.get(str(value).lower())
            if truth is None:
                self._wrong(path, f"{shown_json(value)} is not true or false", "give true or false")
            return bool(truth)
        if not isinstance(value, str):
            self._wrong(path, f"{shown_json(value)} is not text", "give text")
            return ""
        return value

    def _inner(self, value: Any, descriptor: Descriptor, path: str) -> Any:
        if not descriptor.full_name.startswith("google.protobuf."):
            return self.message(value, descriptor, path)
        if descriptor.full_name == "google.protobuf.Timestamp":
            try:
                Timestamp().FromJsonString(value)
            except (TypeError, ValueError, AttributeError):
                hint = "write it as RFC 3339 with a zone, such as 2026-05-09T03:12:00Z (in a URL, + is %2B)"
                self._wrong(path, f"{shown_json(value)} is no time", hint)
                return "1970-01-01T00:00:00Z"
        return value

    def _enum(self, value: Any, enum: Any, path: str) -> Any:
        words = _words(enum)
        if isinstance(value, int) and not isinstance(value, bool) and value in enum.values_by_number:
            return value
        found = words.get(value.lower()) if isinstance(value, str) else None
        if found is None and (not isinstance(value, str) or value not in enum.values_by_name):
            close = close_to(str(value), words)
            hint = f"did you mean {close!r}?" if close else "choose one of these words"
            self._wrong(path, f"{shown_json(value)} is none of {', '.join(words)}", hint)
        return found or value

    def _float(self, value: Any, path: str) -> float:
        try:
            if isinstance(value, bool) or not math.isfinite(number := float(value)):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            self._wrong(path, f"{shown_json(value)} is not a finite number", "give a number")
            return 0.0
        return number

    def _integer(self, value: Any, bounds: tuple[int, int], path: str) -> int:
        try:
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            self._wrong(path, f"{shown_json(value)} is not a whole number", "give a whole number")
            return 0
        if not bounds[0] <= number <= bounds[1]:
            self._wrong(path, f"is {shown_json(value)}", f"give {bounds[0]} to {bounds[1]}")
            return 0
        return number


def _words(enum: Any) -> dict[str, str]:
    """Word → protobuf name; the unspecified value is no word."""
    prefix = enum_prefix(enum.name)
    return {value.name.removeprefix(prefix).lower(): value.name for value in enum.values if value.number != 0}


def is_map(field: Any) -> bool:
    """Whether a message's field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


# Answers


def to_json(message: Message) -> bytes:
    """An answer as JSON, without a line end."""
    data = to_dict(message)
    if _has_numbers(message.DESCRIPTOR):
        data = with_words(data)
    for path, name in _embedded(message.DESCRIPTOR):
        inside = data.get(path, ())
        for each in inside if isinstance(inside, list) else (inside,):
            if each and each.get(name):
                each[name] = orjson.Fragment(each[name])
    return dumps(data)


@cache
def _has_numbers(descriptor: Descriptor) -> bool:
    """Whether a message can hold a number that JSON has none for."""
    seen: set[str] = set()
    waiting = [descriptor]
    while waiting:
        each = waiting.pop()
        if each.full_name in seen:
            continue
        seen.add(each.full_name)
        for field in each.fields:
            if field.cpp_type in _FLOATS:
                return True
            if field.message_type is not None:
                waiting.append(field.message_type)
    return False


def dumps(data: Any) -> bytes:
    """Plain data as JSON: times in UTC, bytes as base64."""
    return orjson.dumps(data, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is not JSON")


@cache
def _embedded(descriptor: Descriptor) -> tuple[tuple[str, str], ...]:
    """An answer's fields whose messages have a field with JSON, and that field's name."""
    return tuple(
        (field.name, EMBEDDED[field.message_type.full_name])
        for field in descriptor.fields
        if field.message_type is not None and field.message_type.full_name in EMBEDDED
    )
