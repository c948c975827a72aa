"""Curves: as many points of a series as a drawing can show, with every extreme. Pure.

Each pixel keeps its first, smallest, largest and last point (M4; Jugel, Jerzak, Hackenbroich, Markl: "M4: A
Visualization-Oriented Time Series Data Aggregation", VLDB 2014). A line through them looks like one through all points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from events.streams.columns import Columns, joined, merge


def between(points: Columns, by_time: bool, first: int | None, last: int | None) -> Columns:
    """The points in a range of the axis, both ends included, in the order of the axis."""
    ordered = _by_time(points) if by_time else points
    axis = ordered.times if by_time else ordered.steps
    start = 0 if first is None else int(np.searchsorted(axis, first, "left"))
    end = len(axis) if last is None else int(np.searchsorted(axis, last, "right"))
    return ordered[start:end]


def reduce(points: Columns, by_time: bool, low: int, high: int, width: int) -> Columns:
    """The points to draw, of points in the order of the axis.

    `low`, `high`: what the first and the last pixel begin and end with; no point is outside. `width`: pixels. A NaN is
    no extreme, and is kept where it is a pixel's first or last point.
    """
    if len(points) <= 4 * width:
        return points
    pixels = _pixels(points.times if by_time else points.steps, low, high, width)
    starts = np.flatnonzero(np.concatenate(([True], pixels[1:] != pixels[:-1])))
    ends = np.concatenate((starts[1:], [len(points)])) - 1
    numbers = np.isnan(points.values)
    smallest = _first(np.where(numbers, np.inf, points.values), numbers, starts, np.minimum)
    largest = _first(np.where(numbers, -np.inf, points.values), numbers, starts, np.maximum)
    keep = np.zeros(len(points), bool)
    for found in (starts, ends, smallest, largest):
        keep[found] = True
    return Columns(points.steps[keep], points.times[keep], points.values[keep])


def merged(one: Columns, other: Columns, by_time: bool) -> Columns:
    """The points of both, in the order of the axis."""
    return _by_time(joined((one, other))) if by_time else merge((one, other))


def _by_time(points: Columns) -> Columns:
    if (points.times[1:] >= points.times[:-1]).all():
        return points
    order = np.argsort(points.times, kind="stable")
    return Columns(points.steps[order], points.times[order], points.values[order])


def _pixels(axis: NDArray[np.int64], low: int, high: int, width: int) -> NDArray[np.int64]:
    """The pixel of each point."""
    # Modulo 2^64, so that no difference overflows.
    offsets = (axis.view(np.uint64) - np.uint64(low % (1 << 64))).astype(np.float64)
    return np.minimum((offsets * (width / float(high - low + 1))).astype(np.int64), width - 1)


def _first(
    values: NDArray[np.float64], nans: NDArray[np.bool_], starts: NDArray[np.int64], extreme: np.ufunc
) -> NDArray[np.int64]:
    """The index of the first extreme of each group that has a number; groups begin at `starts`."""
    sizes = np.diff(starts, append=len(values))
    extremes = np.repeat(extreme.reduceat(values, starts), sizes)
    hits = np.flatnonzero((values == extremes) & ~nans)
    groups = np.repeat(np.arange(len(starts)), sizes)[hits]
    return hits[np.concatenate(([True], groups[1:] != groups[:-1]))] if len(hits) else hits
