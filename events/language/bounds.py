"""The bounds of every value of the language, in any field, so that protobuf, JSON, Postgres and Python can hold it.

- text has no U+0000 (Postgres can't store it) and no lone surrogate (pydantic refuses those: they are not UTF-8);
- a whole number has at most 64 bits, with sign; any other number is finite;
- a time can be converted to UTC, and to every time zone.

`Model` puts these bounds into the schema of each of its fields, where pydantic-core checks them. Commands are held to
them. An event that is in the log already is read with a replacement instead: see `mended`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

TEXT_PATTERN = r"^[^\x00]*$"
"""Of texts that have no stricter pattern."""

REPLACEMENT = "\ufffd"

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1

MAX_ATTRIBUTE_BYTES = 1_024
"""Most bytes of one of a record's CloudEvents attributes: tables are indexed by some of them. A command's may have half
as many, since the ids of what follows from it grow by its number and key."""

TIME_MIN = datetime(1, 1, 2, tzinfo=UTC)
TIME_MAX = datetime(9999, 12, 31, tzinfo=UTC)
"""Within a day of what Python and protobuf can say, since a zone is up to 14 hours off."""

_CONTAINERS = ("default", "metadata", "serialization", "cls", "ref", "expected", "members")
"""Keys of a core schema that hold no schemas of the fields' values."""


def bounded(schema: Any, model: type) -> Any:
    """A model's core schema of pydantic, with the bounds added to what has none of its own (in place). Models within
    it have theirs already."""
    for part in _parts(schema, model):
        kind = part["type"]
        if kind == "str":
            part.setdefault("pattern", TEXT_PATTERN)
        elif kind == "int":
            if "gt" not in part:
                part.setdefault("ge", INT_MIN)
            if "lt" not in part:
                part.setdefault("le", INT_MAX)
        elif kind == "float":
            part.setdefault("allow_inf_nan", False)
        elif kind == "datetime":
            part.setdefault("ge", TIME_MIN)
            part.setdefault("le", TIME_MAX)
    return schema


def _parts(schema: Any, model: type) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        kind = schema.get("type")
        if kind == "model" and schema["cls"] is not model:
            return
        if isinstance(kind, str):
            yield schema
        for key, value in schema.items():
            if key not in _CONTAINERS:
                yield from _parts(value, model)
    elif isinstance(schema, list | tuple):
        for value in schema:
            yield from _parts(value, model)


def mended(data: Any, errors: list[Any]) -> list[str]:
    """Replaces in a message's JSON data (in place) what breaks these bounds: U+0000 by U+FFFD, a number or a time by
    the nearest that fits. `errors` are pydantic's. Returns the paths of what was replaced."""
    done: list[str] = []
    for error in errors:
        *above, last = error["loc"] or (None,)
        is_key = last == "[key]"
        if is_key:
            last = above.pop()
        holder = data
        try:
            for step in above:
                holder = holder[step]
            value = last if is_key else holder[last]
        except (KeyError, IndexError, TypeError):
            continue  # the error is about something else than a value, such as a missing field
        better = _nearest(error, value)
        if better is None or better == value:
            continue
        if is_key:
            holder[better] = holder.pop(last)
        else:
            holder[last] = better
        done.append(".".join(str(step) for step in (*above, last)))
    return done


def _nearest(error: Any, value: Any) -> Any:
    """The value to have instead; None when the error is about no bound of the language as a whole."""
    kind = error["type"]
    if kind == "string_pattern_mismatch" and isinstance(value, str):
        return value.replace("\0", REPLACEMENT)
    if kind in ("greater_than_equal", "less_than_equal"):
        limit = error["ctx"]["ge" if kind == "greater_than_equal" else "le"]
        # Pydantic gives the limit of a time as its text. Other limits are a field's own.
        return limit if isinstance(limit, str) or limit in (INT_MIN, INT_MAX) else None
    return None
