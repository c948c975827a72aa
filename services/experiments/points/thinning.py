"""Which of a metric's points become intermediate values of a trial. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from events.streams.columns import Columns

_FINE = 1_000
"""Intervals of the size that is asked for. Behind them, each order of magnitude has ten times larger ones."""
_POWERS = np.array([_FINE * 10**n for n in range(16)], dtype=np.int64)


def intervals(steps: Any, every: int) -> Any:
    """The interval of each step (int64, none below 0), as the number of the first small interval in it."""
    small = steps // every
    size = np.int64(10) ** np.searchsorted(_POWERS, small, side="right").astype(np.int64)
    return small // size * size


def first_of_each(points: Columns, every: int, after: int) -> tuple[Any, Any]:
    """The steps and values of the first point in each interval behind that of step `after` (-1: there is none). Of
    several points of one step, the last counts. Steps below 0 are left out."""
    there = points.between(max(after, -1) + 1, (1 << 63) - 1)
    steps, values = there.steps, there.values
    if not len(steps):
        return steps, values
    last = np.append(steps[1:] != steps[:-1], True)
    steps, values = steps[last], values[last]
    places = intervals(steps, every)
    before = intervals(np.array([after], dtype=np.int64), every)[0] if after >= 0 else -1
    first = np.append(True, places[1:] != places[:-1]) & (places > before)
    return steps[first], values[first]
