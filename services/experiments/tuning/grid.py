"""The points of a grid: each combination of values once, in order; the last dimension moves fastest. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from events.language.experiments.search_space import Dimension, DimensionKind, active

MAX_POINTS = 100_000
"""Most points that a tuning goes through."""


def count(dimension: Dimension) -> int:
    """How many values a dimension has that has an end to them."""
    if dimension.kind is DimensionKind.CATEGORICAL:
        return len(dimension.choices)
    low, high = _bounds(dimension)
    if dimension.kind is DimensionKind.INT:
        return (int(high) - int(low)) // int(dimension.step or 1) + 1
    if dimension.step is None:
        return 1
    # What rounding takes must not cost the last point: 0 to 0.3 by 0.1 has four.
    return math.floor((high - low) / dimension.step + 1e-9) + 1


def value(dimension: Dimension, place: int) -> Any:
    """One of a dimension's values, by its place."""
    if dimension.kind is DimensionKind.CATEGORICAL:
        return json.loads(dimension.choices[place])
    low, high = _bounds(dimension)
    if dimension.kind is DimensionKind.INT:
        return int(low) + place * int(dimension.step or 1)
    return min(low + place * (dimension.step or 0.0), high)


def _bounds(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None, "a number has both bounds"
    assert dimension.high is not None
    return dimension.low, dimension.high


def points(space: Sequence[Dimension]) -> Iterator[dict[str, Any]]:
    """All points; a dimension that does not count is left out of a point."""
    yield from _points(space, {})


def _points(space: Sequence[Dimension], chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not space:
        yield chosen
        return
    first, *rest = space
    if not active(first, chosen):
        yield from _points(rest, chosen)
        return
    for place in range(count(first)):
        yield from _points(rest, {**chosen, first.name: value(first, place)})


@lru_cache(maxsize=64)
def size(space: tuple[Dimension, ...]) -> int:
    """How many points there are; `MAX_POINTS` + 1 if there are more."""
    counts = [count(dimension) for dimension in space]
    if max(counts) > MAX_POINTS:
        return MAX_POINTS + 1
    if all(dimension.when is None for dimension in space):
        return min(math.prod(counts), MAX_POINTS + 1)
    return sum(1 for _ in islice(points(space), MAX_POINTS + 1))
