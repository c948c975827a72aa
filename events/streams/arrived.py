"""Columns whose points know when they came: what lets a stream of points answer as of a past time.

`Arrived` is `Columns` and, for each point, when it came (milliseconds since 1970, by the record that brought it). A
point that came twice came when it came first. Pure; knows no stream and no table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from events.streams.columns import Columns, deltas_of, equal_next, joined, numbers_of, packed, ranks_of, unpacked

_FORMAT = 2
_COLUMNS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """Distinct points in order, and when each came."""

    columns: Columns
    arrivals: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, part: slice) -> Arrived:
        return Arrived(self.columns[part], self.arrivals[part])

    def by(self, time: int) -> Columns:
        """The points that had come by a time."""
        if not len(self) or int(self.arrivals.max()) <= time:
            return self.columns
        there = self.arrivals <= time
        return Columns(self.columns.steps[there], self.columns.times[there], self.columns.values[there])


def at_once(columns: Columns, arrival: int) -> Arrived:
    """Columns that came together."""
    return Arrived(columns, np.full(len(columns), arrival, np.int64))


def merge(parts: Iterable[Arrived]) -> Arrived:
    """All points of several `Arrived`, each once, with its first arrival."""
    given = [part for part in parts if len(part)]
    if len(given) == 1:
        return given[0]
    both = _joined(given)
    steps = both.columns.steps
    if (steps[1:] > steps[:-1]).all():
        return both  # the usual case: one after the other
    ranks = ranks_of(both.columns.values)
    order = np.lexsort((both.arrivals, ranks, both.columns.times, steps))
    times, values, ranks = both.columns.times[order], both.columns.values[order], ranks[order]
    steps, arrivals = steps[order], both.arrivals[order]
    first = np.ones(len(order), bool)
    first[1:] = ~equal_next(steps, times, ranks)
    return Arrived(Columns(steps[first], times[first], values[first]), arrivals[first])


def cut(part: Arrived, most: int) -> list[Arrived]:
    """Slices of at most `most` points, in order."""
    return [part[start : start + most] for start in range(0, len(part), most)]


def encode(part: Arrived) -> bytes:
    """The bytes of a row, compressed by zstd. Takes points in any order, and keeps it."""
    columns = part.columns
    values = np.ascontiguousarray(columns.values, "<f8").tobytes()
    plain = deltas_of(columns.steps) + deltas_of(columns.times) + deltas_of(part.arrivals) + values
    return packed(_FORMAT, len(part), plain)


def decode(data: bytes) -> Arrived:
    """What `encode` made bytes of. Raises Malformed."""
    steps, times, arrivals, values = unpacked(data, _FORMAT, _COLUMNS, "points with their arrivals")
    columns = Columns(numbers_of(steps), numbers_of(times), values.view("<f8"))
    return Arrived(columns, numbers_of(arrivals))


def joined_in_turn(parts: Iterable[Arrived]) -> Arrived:
    """Several one behind the other, as they are: no longer in order. For `encode` alone."""
    return _joined(parts)


def _joined(parts: Iterable[Arrived]) -> Arrived:
    given = list(parts)
    arrivals = [part.arrivals for part in given]
    return Arrived(
        joined(part.columns for part in given), np.concatenate(arrivals) if arrivals else np.empty(0, np.int64)
    )
