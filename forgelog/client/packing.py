"""Points as a `PointBatch` has them: columns of little-endian numbers. Knows no connection."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from forgelog.client.plain import timestamp
from forgelog.errors import InvalidInput
from forgelog.units import quoted

MOST = 10_000
"""Points of a batch."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(time: datetime, name: str) -> int:
    """A time in milliseconds since 1970. Raises InvalidInput."""
    timestamp(time, name)  # checks it
    return (time - EPOCH) // timedelta(milliseconds=1)


def now() -> int:
    """This moment in milliseconds since 1970."""
    return milliseconds(datetime.now(UTC), "now")


def column(name: str, given: Sequence[Any]) -> bytes:
    """A column: of whole numbers, or of `values`. Raises InvalidInput that names what is none."""
    kind = "d" if name == "values" else "q"
    try:
        return struct.pack(f"<{len(given)}{kind}", *given)
    except (struct.error, TypeError, OverflowError):
        pass  # found below
    for index, each in enumerate(given):
        try:
            struct.pack(f"<{kind}", each)
        except (struct.error, TypeError, OverflowError):
            what = "number" if kind == "d" else "whole number of 64 bits"
            raise InvalidInput(f"{name}[{index}]: {quoted(str(each))} is no {what}") from None
    raise AssertionError("one of them can't be packed")


def pieces(steps: Sequence[int], times: Sequence[int], values: Sequence[float]) -> Iterator[dict[str, bytes]]:
    """Columns of at most `MOST` points each. Raises InvalidInput."""
    if not len(steps) == len(times) == len(values):
        told = f"{len(steps)} steps, {len(times)} times, {len(values)} values"
        raise InvalidInput(f"there are {told}; give each point a step, a time and a value")
    for start in range(0, len(values), MOST):
        part = slice(start, start + MOST)
        given = {"steps": steps[part], "times": times[part], "values": values[part]}
        yield {name: column(name, each) for name, each in given.items()}
