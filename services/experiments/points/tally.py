"""What is told of a series without reading its points: its last value, its extremes, how many there are. Pure.

A `Tally` of several parts is the sum of their tallies, in any order, as long as no point is in two of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from events.streams.arrived import Arrived
from events.streams.columns import Point, ranks_of
from services.experiments.points.tables import TALLY


@dataclass(frozen=True, slots=True)
class Tally:
    """A sum over points. At least one."""

    count: int
    nans: int
    first_step: int
    last_step: int
    last_time: int
    last_value: float
    """The last point, by step, then time, then value."""
    low: float | None
    """The smallest value that is not NaN."""
    low_step: int | None
    """The first step that has it."""
    high: float | None
    high_step: int | None
    time_from: int
    time_to: int
    """The earliest and the latest time."""
    arrived_from: int
    arrived_to: int
    """When the oldest and the newest came: milliseconds since 1970."""

    @property
    def last(self) -> Point:
        """The last point, to compare others with."""
        return Point(self.last_step, self.last_time, rank_of(self.last_value))

    def __add__(self, other: Tally) -> Tally:
        last = self if self.last >= other.last else other
        low, low_step = _extreme((self.low, self.low_step), (other.low, other.low_step), 1)
        high, high_step = _extreme((self.high, self.high_step), (other.high, other.high_step), -1)
        return Tally(
            count=self.count + other.count,
            nans=self.nans + other.nans,
            first_step=min(self.first_step, other.first_step),
            last_step=last.last_step,
            last_time=last.last_time,
            last_value=last.last_value,
            low=low,
            low_step=low_step,
            high=high,
            high_step=high_step,
            time_from=min(self.time_from, other.time_from),
            time_to=max(self.time_to, other.time_to),
            arrived_from=min(self.arrived_from, other.arrived_from),
            arrived_to=max(self.arrived_to, other.arrived_to),
        )


def rank_of(value: float) -> int:
    """See `events.streams.columns.Point`."""
    return int(ranks_of(np.array([value]))[0])


def tally(part: Arrived) -> Tally:
    """The tally of points, at least one."""
    columns = part.columns
    at = np.flatnonzero(~np.isnan(columns.values))
    low = int(at[np.argmin(columns.values[at])]) if len(at) else None
    high = int(at[np.argmax(columns.values[at])]) if len(at) else None
    return Tally(
        count=len(part),
        nans=len(part) - len(at),
        first_step=int(columns.steps[0]),
        last_step=int(columns.steps[-1]),
        last_time=int(columns.times[-1]),
        last_value=float(columns.values[-1]),
        low=None if low is None else float(columns.values[low]),
        low_step=None if low is None else int(columns.steps[low]),
        high=None if high is None else float(columns.values[high]),
        high_step=None if high is None else int(columns.steps[high]),
        time_from=int(columns.times.min()),
        time_to=int(columns.times.max()),
        arrived_from=int(part.arrivals.min()),
        arrived_to=int(part.arrivals.max()),
    )


def total(tallies: Iterable[Tally]) -> Tally | None:
    """The sum; None of none."""
    result: Tally | None = None
    for each in tallies:
        result = each if result is None else result + each
    return result


def of_row(row: Any) -> Tally:
    """The tally in a row."""
    return Tally(*(row[name] for name in TALLY))


def values_of(told: Tally) -> tuple[Any, ...]:
    """Its columns' values, in the order of the tables' columns."""
    return tuple(getattr(told, name) for name in TALLY)


def _extreme(
    one: tuple[float | None, int | None], other: tuple[float | None, int | None], sign: int
) -> tuple[float | None, int | None]:
    """Of two extremes with their steps: the smaller one (`sign` 1) or the larger one (-1), at its first step."""
    if one[0] is None or one[1] is None:
        return other
    if other[0] is None or other[1] is None:
        return one
    return min(one, other, key=lambda each: (sign * (each[0] or 0.0), each[1]))
