"""The bounds of every query's request, checked in one place before the handlers.

Driven by the messages' descriptors, so a new query's fields are checked without being named. Knows no query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import grpc
from google.api.annotations_pb2 import http as bindings  # type: ignore[import-untyped]
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from events.language.bounds import TIME_MAX, TIME_MIN
from events.process.messages import NoMessage
from events.queries.queries import QueryError
from forgelog_pb.query.v1 import options_pb2

MAX_REQUEST_BYTES = 8 << 20
"""Largest request that a service takes."""
MAX_ANSWER_BYTES = 64 << 20
"""Largest answer that it gives, and that the gateway takes."""

MAX_ENTRIES = 10_000
"""Most entries of a list or a map in a request."""

MAX_TEXT = 200_000
"""Most characters of a text in a request."""

_TIMES = (int(TIME_MIN.timestamp()), int(TIME_MAX.timestamp()))

_SIGNED = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
BELOW_ZERO = (FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SINT64)
"""Types of numbers that may be below 0: protobuf's own for those that often are."""

Check = Callable[[Any, str], None]
"""Looks at a field's value; the text is the field's path."""


_IN_A_PATH = re.compile(r"\{(\w+)")


def named_by(service: str, method: str) -> tuple[str, ...]:
    """The fields that name what a query is about: those that stand in each path by which HTTP asks it. None of what has
    no path, or is no message that this process knows."""
    try:
        found: Any = descriptor_pool.Default().FindMethodByName(f"{service}.{method}")
    except KeyError:
        return ()
    rule: Any = found.GetOptions().Extensions[bindings]
    paths = [each.get for each in (rule, *rule.additional_bindings) if each.get]
    return (
        tuple(name for name in _IN_A_PATH.findall(paths[0]) if all(f"{{{name}}}" in path for path in paths))
        if paths
        else ()
    )


def unnamed(request: Any, names: Sequence[str]) -> str:
    """The first of these fields that a request leaves empty; none where it gives a name in place of an id."""
    if getattr(request, "name", ""):
        return ""
    return next((name for name in names if getattr(request, name) in ("", ())), "")


def check_request(message: Any) -> None:
    """Raises QueryError(INVALID_ARGUMENT) that names the field: a text with U+0000 or too long, a time that can't be
    said in UTC, too many entries, a number below 0 (queries number and count from 0, but for what is declared as
    sint64), a past where there is none."""
    if isinstance(message, NoMessage):
        raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, message.problem)
    if isinstance(message, Message):  # what is not decoded has no fields yet
        _check(message, "")


def _check(message: Any, path: str) -> None:
    for field, value in message.ListFields():
        check = _check_of(field)
        if check is not None:
            check(value, f"{path}{field.name}")


@cache
def _check_of(field: Any) -> Check | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map(_one(field.message_type.fields_by_name["value"]))
    one = _one(field)
    return _list(one) if field.is_repeated else one


def _one(field: Any) -> Check | None:
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return _time
        if why := no_past(field):
            return _present(why)
        return lambda value, path: _check(value, f"{path}.")
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _text
    return _number if field.cpp_type in _SIGNED and field.type not in BELOW_ZERO else None


def no_past(field: Any) -> str:
    """Why a request's field of `ReadOptions` takes no ``as_of``; empty if it takes one."""
    why: str = field.GetOptions().Extensions[options_pb2.no_past]
    return why


def _present(why: str) -> Check:
    def check(options: Any, path: str) -> None:
        if options.HasField("as_of"):
            raise _wrong(f"{path}.as_of", f"{why}; leave it out")
        _check(options, f"{path}.")

    return check


def _text(value: Any, path: str) -> None:
    if "\0" in value:
        raise _wrong(path, "has the character U+0000; leave it out")
    if len(value) > MAX_TEXT:
        raise _wrong(path, f"has {len(value)} characters; at most {MAX_TEXT} are allowed")


def _number(value: Any, path: str) -> None:
    if value < 0:
        raise _wrong(path, f"is {value}; give 0 or more")


def _time(value: Any, path: str) -> None:
    if not _TIMES[0] <= value.seconds < _TIMES[1] or not 0 <= value.nanos < 1_000_000_000:
        raise _wrong(path, f"is no time that can be said; give one from {TIME_MIN.date()} to {TIME_MAX.date()}")


def _list(one: Check | None) -> Check:
    def check(values: Any, path: str) -> None:
        _count(values, path)
        if one is not None:
            for index, value in enumerate(values):
                one(value, f"{path}[{index}]")

    return check


def _map(one: Check | None) -> Check:
    def check(values: Any, path: str) -> None:
        _count(values, path)
        for key, value in values.items():
            if isinstance(key, str):
                _text(key, f"{path} (a key)")
            if one is not None:
                one(value, f"{path}.{key}")

    return check


def _count(values: Any, path: str) -> None:
    if len(values) > MAX_ENTRIES:
        raise _wrong(path, f"has {len(values)} entries; at most {MAX_ENTRIES} are allowed")


def _wrong(path: str, problem: str) -> QueryError:
    return QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"{path}: {problem}")
