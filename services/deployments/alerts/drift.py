"""How far values of live requests are from those of the training data: the population stability index. Pure.

Source: Siddiqi, Credit risk scorecards (2006). Bins are the deciles of the training data, so each is expected to have a
tenth of the values; equal deciles (many equal values) join, and their bin is expected to have as much more. Texts have
a bin for each frequent value.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from events.language.deployments.drift import (
    ColumnCounts,
    ColumnDrift,
    DriftVerdict,
    TrainedColumn,
    TrainingData,
)

FEWEST_VALUES = 200
FEWEST_OF_BIN = 20
"""Values that one index needs, at least so many for each bin. By chance alone it is about bins ÷ values of requests and
of training together (Yurdakul, 2018), which must be far below 0.2."""

MODERATE, GRAVE = 0.1, 0.2
"""Above which an index is called so (Siddiqi)."""

LEAST_SHARE = 1e-4
"""An empty bin counts as this share: a logarithm of zero would be infinite."""


def bin_of(value: float, edges: Sequence[float]) -> int:
    """The bin of a value; `edges` are the upper bounds of all bins but the last, ascending."""
    return bisect_left(edges, value)


def stability_index(expected: Sequence[float], counts: Sequence[int]) -> float | None:
    """Σ (share − expected) ln(share ÷ expected) over the bins: above 0.1 a drift, above 0.2 a grave one.

    `expected` are shares of the training data, `counts` the live values of the same bins. None if these are too few.
    Raises ValueError if the bins are not the same.
    """
    if len(expected) != len(counts):
        raise ValueError(f"{len(expected)} bins are expected and {len(counts)} were counted")
    total = sum(counts)
    if total < fewest(len(counts)):
        return None
    index = 0.0
    for wanted, count in zip(expected, counts, strict=True):
        share, wanted = max(count / total, LEAST_SHARE), max(wanted, LEAST_SHARE)
        index += (share - wanted) * math.log(share / wanted)
    return round(index, 9)


def fewest(bins: int) -> int:
    """How many values an index of so many bins needs."""
    return max(FEWEST_VALUES, FEWEST_OF_BIN * bins)


Counted = Mapping[int, Sequence[int]]
"""Column → counts by its bins."""


def summed(parts: Iterable[Iterable[ColumnCounts]]) -> dict[int, list[int]]:
    """Counts of several reports together. Where only some count missing values, the others had none."""
    found: dict[int, list[int]] = {}
    for part in parts:
        add(found, ((each.column, each.counts) for each in part))
    return found


def add(found: dict[int, list[int]], more: Iterable[tuple[int, Sequence[int]]]) -> None:
    """Add further counts of columns to those that there are."""
    for column, new in more:
        counts = found.setdefault(column, [])
        counts.extend([0] * (len(new) - len(counts)))
        for place, count in enumerate(new):
            counts[place] += count


def column_drift(column: TrainedColumn, counts: Sequence[int] | None) -> ColumnDrift:
    """One column's drift. `counts`: by its bins, with one more where requests may have missing values; without that,
    values that are there are compared with each other. None: nothing counts it."""
    names = [*map(_bound, column.edges), f"above {column.edges[-1]:g}"] if column.edges else []
    names = names or [*column.kinds, "others"]
    trained = [*column.counts]
    if counts is None or len(counts) not in (len(trained), len(trained) + 1):
        return ColumnDrift(column=column.name, verdict=DriftVerdict.NOT_COUNTED)
    missing = len(counts) > len(trained)
    if missing:
        names.append("missing")
        trained.append(column.missing)
    shares = [each / sum(trained) for each in trained]
    total = sum(counts)
    index = stability_index(shares, counts) if sum(trained) >= fewest(len(trained)) else None
    return ColumnDrift(
        column=column.name,
        index=index,
        verdict=_verdict(index),
        values=total,
        missing=counts[-1] / total if missing and total else None,
        bins=tuple(names),
        expected=tuple(shares),
        observed=tuple(count / total for count in counts) if total else (),
    )


def drift(training: TrainingData, counted: Counted) -> list[ColumnDrift]:
    """Of all columns, the highest index first; then those that have none, by name."""
    found = [column_drift(column, counted.get(place)) for place, column in enumerate(training.columns)]
    return sorted(found, key=lambda each: (-math.inf if each.index is None else each.index, each.values), reverse=True)


def highest(training: TrainingData | None, counted: Counted) -> tuple[float, str] | None:
    """The highest index, and its column; None if no column has one."""
    if training is None or not counted:
        return None
    known = [(each.index, each.column) for each in drift(training, counted) if each.index is not None]
    return max(known, key=lambda each: each[0], default=None)


def highest_of(asked: Mapping[int, Counted], trained: Mapping[int, TrainingData | None]) -> tuple[float, str] | None:
    """The same over revisions, each beside its own training data."""
    found = [highest(trained.get(revision), counted) for revision, counted in asked.items()]
    return max((each for each in found if each is not None), default=None)


def _bound(edge: float) -> str:
    return "below 0" if -1e-200 < edge < 0 else f"up to {edge:g}"


def _verdict(index: float | None) -> DriftVerdict:
    if index is None:
        return DriftVerdict.TOO_FEW
    if index > GRAVE:
        return DriftVerdict.DRIFTED
    return DriftVerdict.MODERATE if index > MODERATE else DriftVerdict.STABLE
