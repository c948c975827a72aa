"""Heads: what has just come of a run, all series in one row, until it becomes chunks. Pure: a row's bytes.

A row is the number of series, for each its number and how many points it has, and then all points, encoded together.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping

import numpy as np

from events.streams.arrived import Arrived, decode, encode, joined_in_turn
from events.streams.columns import Malformed

_COUNT = struct.Struct("<I")
_ENTRY = np.dtype([("series", "<i8"), ("count", "<u4")])


def encode_head(series: Mapping[int, Arrived]) -> bytes:
    """The bytes of a row: number of a series → its points."""
    entries = np.array([(number, len(part)) for number, part in series.items()], _ENTRY)
    return _COUNT.pack(len(entries)) + entries.tobytes() + encode(joined_in_turn(series.values()))


def decode_head(data: bytes, only: Collection[int] | None = None) -> dict[int, Arrived]:
    """What is in a row; `only` of these series. Raises Malformed."""
    if len(data) < _COUNT.size:
        raise Malformed("they do not begin as a head does")
    (count,) = _COUNT.unpack_from(data)
    behind = _COUNT.size + count * _ENTRY.itemsize
    if behind > len(data):
        raise Malformed(f"they say that they are {count} series, and are too short for that")
    entries = np.frombuffer(data, _ENTRY, count, _COUNT.size)
    numbers = entries["series"].tolist()
    if only is not None and not any(number in only for number in numbers):
        return {}
    points = decode(data[behind:])
    ends = np.cumsum(entries["count"], dtype=np.int64).tolist()
    if (ends[-1] if ends else 0) != len(points):
        raise Malformed("they have another number of points than they say")
    starts = [0, *ends][: len(ends)]
    return {
        number: points[start:end]
        for number, start, end in zip(numbers, starts, ends, strict=True)
        if only is None or number in only
    }
