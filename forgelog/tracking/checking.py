"""What is checked of a run's data before it is kept: the platform would refuse it later, when nobody listens.

The bounds are those of the language, which would load pydantic; a test compares them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from forgelog.errors import InvalidInput
from forgelog.units import quoted

MAX_KEY = 250
MAX_PARAM = 6_000
MAX_TAG = 8_000
MAX_NAME = 250
MAX_EXPERIMENT = 200
MAX_SERIES = 10_000
MAX_REASON = 500
MAX_DIGEST = 128
MAX_DETAILS = 60_000
MAX_ID = 128
TIMES = range(-62_135_596_800_000, 253_402_300_800_000)

_ID = re.compile(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DETAILS = ("source", "columns", "profile")
_LABELS = ("role", "source_type")


def id(value: Any, field: str) -> str:
    """An id that the platform may have given. Raises InvalidInput, as all of these do."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidInput(f"{field}: {quoted(str(value))} is no id; give what `forgelog runs list` shows")
    return value


def project(value: str) -> str:
    if value and not _PROJECT.fullmatch(value):
        raise InvalidInput(f"project: {quoted(value)} is no project; write organization/project")
    return value


def text(value: Any, field: str, most: int, *, empty: bool = False) -> str:
    """Printable text on one line, of so many characters at most."""
    if not isinstance(value, str):
        raise InvalidInput(f"{field}: {quoted(str(value))} is a {type(value).__name__}; give text")
    if not value.strip() and not (empty and not value):
        raise InvalidInput(f"{field}: is empty; give some text")
    if len(value) > most:
        raise InvalidInput(f"{field}: has {len(value)} characters; give at most {most}")
    if not value.isprintable() and any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise InvalidInput(f"{field}: {quoted(value)} can't be printed; use printable text")
    return value


def details(value: Any, field: str, most: int) -> str:
    """A value as text, of so many characters at most."""
    written = str(value)
    if len(written) > most:
        raise InvalidInput(f"{field}: has {len(written)} characters; give at most {most}, or log it as an artifact")
    try:
        written.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{field}: {quoted(written)} is no text that can be stored; use plain Unicode") from None
    return written


def merged(given: Any, more: Mapping[str, Any], field: str) -> dict[Any, Any]:
    """What was given as a mapping, and by names."""
    if given is None:
        return {**more}
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{field}: is a {type(given).__name__}; give a mapping from names to values")
    return {**given, **more}


def params(given: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as text. A mapping in a mapping gives dotted names: ``{"adam": {"lr": 1}}`` is ``adam.lr``."""
    found: dict[str, str] = {}
    _check_names(given)
    for name, value in flat(given):
        text(name, "params name", MAX_KEY)
        found[name] = details(value, f"params.{name}", MAX_PARAM)
    return found


def tags(given: Mapping[str, Any]) -> dict[str, str | None]:
    """Tags as text; None takes one away."""
    found: dict[str, str | None] = {}
    for name, value in given.items():
        text(name, "tags name", MAX_KEY)
        found[name] = None if value is None else details(value, f"tags.{name}", MAX_TAG)
    return found


def seeds(given: Mapping[Any, Any]) -> dict[str, int]:
    """Seeds of random numbers, by what they are for."""
    for name, seed in given.items():
        text(name, "seeds name", MAX_KEY)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
            raise InvalidInput(f"seeds.{name}: {quoted(str(seed))} is no seed; give a whole number from 0 to 2^63 - 1")
    return {**given}


def series(keys: Iterable[Any], known: int, dataset: str, model_id: str) -> None:
    """Keys of metrics that are new to a run which has so many series."""
    keys = list(keys)
    for key in keys:
        text(key, "metric", MAX_KEY)
    if dataset:
        text(dataset, "dataset", MAX_KEY)
    if model_id:
        id(model_id, "model_id")
    if known + len(keys) > MAX_SERIES:
        raise InvalidInput(
            f"metric: {quoted(keys[0])} would be one of more than {MAX_SERIES} series of the run; use steps instead of "
            "further keys, or another run"
        )


def moment(time: Any) -> int:
    """A time as milliseconds since 1970: of those, or of an aware datetime."""
    if isinstance(time, datetime):
        if time.utcoffset() is None:
            raise InvalidInput(f"time: {time.isoformat()} has no time zone; give an aware datetime")
        return (time - _EPOCH) // timedelta(milliseconds=1)
    if type(time) is int and time in TIMES:
        return time
    raise InvalidInput(f"time: {quoted(str(time))} is no time; give a datetime, or milliseconds since 1970")


def what_is_no_number(step: Any, values: Mapping[Any, Any]) -> InvalidInput:
    """Names what can't be packed of a call of `log`."""
    try:
        struct.pack("<q", step)
    except (struct.error, TypeError, OverflowError):
        return InvalidInput(f"step: {quoted(str(step))} is no whole number of 64 bits")
    for name, value in values.items():
        try:
            struct.pack("<d", value)
        except (struct.error, TypeError, OverflowError, ValueError):
            key = name if isinstance(name, str) else name[0]
            return InvalidInput(f"{key}: {quoted(str(value))} is no number; log numbers, such as loss.item()")
    return InvalidInput("a number changed while it was logged; log it again")


def dataset_input(given: Mapping[str, Any]) -> dict[str, Any]:
    """A `RunInput`."""
    found: dict[str, Any] = {
        "name": text(given.get("name"), "name", MAX_EXPERIMENT),
        "digest": text(given.get("digest"), "digest", MAX_DIGEST),
    }
    for name in (*_LABELS, *_DETAILS):
        if (value := given.get(name)) not in (None, ""):
            found[name] = details(value, name, MAX_KEY if name in _LABELS else MAX_DETAILS)
    if given.get("tags"):
        found["tags"] = tags(merged(given["tags"], {}, "tags"))
    return found


def flat(given: Mapping[Any, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted names and values of mappings in mappings."""
    for name, value in given.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _check_names(given: Mapping[Any, Any]) -> None:
    for name, value in given.items():
        if not isinstance(name, str):
            raise InvalidInput(f"params: the name {quoted(str(name))} is a {type(name).__name__}; give text")
        if isinstance(value, Mapping):
            _check_names(value)
