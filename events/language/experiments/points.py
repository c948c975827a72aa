"""Batches of points: what may be in one, the same at every door. Pure.

A batch is a `forgelog.experiments.v1.PointBatch`. Its columns are little-endian: a series has one step (int64), one
time (int64, milliseconds since 1970) and one value (float64) for each point. JSON has them as lists.

Knows neither the generated message, whose class or object callers pass, nor the arrays that a service makes of columns.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from events.language.common import ErrorCode, FieldError, Refused, is_identifier, printable, shown
from events.language.problems import MAX_ERRORS
from events.language.wording import WHOLE, close_to

MAX_BATCH_POINTS = 10_000
MAX_BATCH_BYTES = 1_000_000
"""Of a batch's message, or of its JSON."""
MAX_SERIES = 10_000
"""Series of a run."""
MAX_KEY = 250
"""Characters of a series' key, and of its data set."""

TIMES = range(-62_135_596_800_000, 253_402_300_800_000)
"""Milliseconds since 1970: the years 1 to 9999."""

_COLUMNS = ("steps", "times", "values")
_WIDTH = 8
"""Bytes of a number in a column."""
_FIELDS = ("key", "model_id", "dataset", *_COLUMNS)
_INT64 = range(-(1 << 63), 1 << 63)
_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""Values that JSON has no numbers for, as protobuf's JSON writes them."""


class SeriesName(NamedTuple):
    """What tells a series from the others of its run."""

    key: str
    model_id: str
    """The model whose metric it is; empty for the run's own."""
    dataset: str
    """The data that it was measured on; empty if that was not said."""


def name_of(series: Any) -> SeriesName:
    """The name of a batch's series."""
    return SeriesName(series.key, series.model_id, series.dataset)


def check_batch(batch: Any, size: int) -> int:
    """The number of points of a batch. Raises Refused, which names the fields that are wrong.

    `size`: its bytes.
    """
    errors: list[FieldError] = []
    if size > MAX_BATCH_BYTES:
        raise _refused([_too_large(size)])
    if not is_identifier(batch.run_id):
        problem = f"{shown(batch.run_id)} is no id of a run" if batch.run_id else "is missing"
        errors.append(FieldError(field="run_id", problem=problem, hint="give the id that CreateRun answered"))
    count = 0
    for index, series in enumerate(batch.series):
        if len(errors) >= MAX_ERRORS:
            break
        place = f"series[{index}]"
        errors += _names_wrong(place, series)
        sizes = {name: len(getattr(series, name)) for name in _COLUMNS}
        errors += [
            _wrong(f"{place}.{name}", f"has {found} bytes", f"give {_WIDTH} bytes a number, little-endian")
            for name, found in sizes.items()
            if found % _WIDTH
        ]
        if len(counts := {found // _WIDTH for found in sizes.values()}) > 1:
            told = ", ".join(f"{found // _WIDTH} {name}" for name, found in sizes.items())
            errors.append(_wrong(place, f"has {told}", "give each point a step, a time and a value"))
        count += max(counts)
        if count <= MAX_BATCH_POINTS and not errors:
            errors += _times_wrong(place, series.times)
    if count > MAX_BATCH_POINTS:
        errors.append(_wrong("series", f"have {count} points", f"send at most {MAX_BATCH_POINTS} at a time"))
    if not count and not errors:
        errors.append(_wrong("series", "have no points", "give at least one"))
    if errors:
        raise _refused(errors)
    return count


def batch_of(data: Any, batch_class: type[Any], run_id: str = "") -> Any:
    """A batch from plain data, as JSON has it. Raises Refused.

    ``{"run_id": "r1", "series": [{"key": "loss", "steps": [1], "times": [1778301120000], "values": [0.5]}]}``

    `run_id`: what the batch's is if it has none; another is refused.
    """
    errors: list[FieldError] = []
    if not isinstance(data, Mapping):
        raise _refused([_wrong(WHOLE, "is no object", 'write {"run_id": ..., "series": [...]}')])
    _known(data, ("run_id", "series"), "", errors)
    given = data.get("run_id", run_id)
    if not isinstance(given, str) or (run_id and given != run_id):
        problem = f"is {shown(given)}, but the path names {run_id}" if run_id else f"{shown(given)} is not text"
        errors.append(_wrong("run_id", problem, "leave it out" if run_id else "give the run's id"))
        given = ""
    listed = data.get("series", [])
    if not isinstance(listed, list):
        errors.append(_wrong("series", "are no list", "give a list of objects"))
        listed = []
    batch = batch_class(run_id=given)
    for index, each in enumerate(listed):
        if len(errors) >= MAX_ERRORS:
            break
        _add(batch, each, f"series[{index}]", errors)
    if errors:
        raise _refused(errors)
    return batch


def _add(batch: Any, data: Any, place: str, errors: list[FieldError]) -> None:
    """Add a series to a batch."""
    if not isinstance(data, Mapping):
        errors.append(_wrong(place, f"{shown(data)} is no object", "give key, steps, times and values"))
        return
    _known(data, _FIELDS, f"{place}.", errors)
    texts = {}
    for name in SeriesName._fields:
        text = data.get(name, "")
        if isinstance(text, str) and (not text or _is_printable(text)):
            texts[name] = text
        else:
            errors.append(_unprintable(f"{place}.{name}", text))
    columns = {name: _column(data.get(name, []), name, f"{place}.{name}", errors) for name in _COLUMNS}
    batch.series.add(**texts, **columns)


def _column(given: Any, name: str, place: str, errors: list[FieldError]) -> bytes:
    whole = name != "values"
    if not isinstance(given, list):
        errors.append(_wrong(place, "are no list", "give one number for each point"))
        return b""
    kinds = {*map(type, given)}
    try:
        if kinds <= ({int} if whole else {int, float}):
            return struct.pack(f"<{len(given)}{'q' if whole else 'd'}", *given)
    except (struct.error, OverflowError):
        pass  # one of them is out of range: it is named below
    numbers: list[Any] = []
    for index, each in enumerate(given):
        if whole:
            if type(each) is int and each in _INT64:
                numbers.append(each)
                continue
            errors.append(_wrong(f"{place}[{index}]", f"{shown(each)} is no whole number of 64 bits", "give one"))
        else:
            if isinstance(each, str) and each in _WORDS:
                numbers.append(_WORDS[each])
                continue
            if type(each) in (int, float) and abs(each) <= _MOST:
                numbers.append(float(each))
                continue
            hint = f"give a number, or one of {', '.join(_WORDS)}"
            errors.append(_wrong(f"{place}[{index}]", f"{shown(each)} is no number of 64 bits", hint))
        return b""
    return struct.pack(f"<{len(numbers)}{'q' if whole else 'd'}", *numbers)


_MOST = 1.7976931348623157e308


def _names_wrong(place: str, series: Any) -> Iterable[FieldError]:
    if not series.key:
        yield _wrong(f"{place}.key", "is missing", "name the metric, such as loss")
    for name, text in (("key", series.key), ("dataset", series.dataset)):
        if len(text) > MAX_KEY:
            yield _wrong(f"{place}.{name}", f"has {len(text)} characters", f"give at most {MAX_KEY}")
        elif text and not _is_printable(text):
            yield _unprintable(f"{place}.{name}", text)
    if series.model_id and not is_identifier(series.model_id):
        problem = f"{shown(series.model_id)} is no id of a model"
        yield _wrong(f"{place}.model_id", problem, "give its id, or leave it out")


def _times_wrong(place: str, column: bytes) -> Iterable[FieldError]:
    times = array("q", column)
    if sys.byteorder == "big":
        times.byteswap()
    for time in (min(times), max(times)) if times else ():
        if time not in TIMES:
            yield _wrong(f"{place}.times", f"{time} is no time", "give milliseconds since 1970, of the years 1 to 9999")
            return


def _is_printable(text: str) -> bool:
    try:
        printable(text)
    except ValueError:
        return False
    return True


def _unprintable(place: str, value: Any) -> FieldError:
    problem = f"{shown(value)} is not text" if not isinstance(value, str) else f"{shown(value)} can't be printed"
    return _wrong(place, problem, "use printable text")


def _known(data: Mapping[Any, Any], names: tuple[str, ...], place: str, errors: list[FieldError]) -> None:
    for name in data:
        if name not in names:
            close = close_to(str(name), names)
            hint = f"did you mean {close!r}?" if close else f"there are {', '.join(names)}"
            errors.append(_wrong(f"{place}{str(name)[:200]}", "there is no such field", hint))


def _too_large(size: int) -> FieldError:
    return _wrong(WHOLE, f"the batch has {size} bytes", f"send at most {MAX_BATCH_BYTES} at a time")


def _wrong(field: str, problem: str, hint: str) -> FieldError:
    return FieldError(field=field, problem=problem, hint=hint)


def _refused(errors: list[FieldError]) -> Refused:
    first = errors[0]
    return Refused(ErrorCode.INVALID_ARGUMENT, f"{first.field}: {first.problem}; {first.hint}", errors[:MAX_ERRORS])
