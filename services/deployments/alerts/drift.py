"""How far values of live requests are from those of the training data: the population stability index. Pure.

Source: Siddiqi, Credit risk scorecards (2006). Bins are the deciles of the training data, so each is expected to have a
tenth of the values; equal deciles (many equal values) join, and their bin is expected to have as much more.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

FEWEST_VALUES = 200
"""Of one index: by chance alone it is about bins ÷ values, which must be far below 0.2."""

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
    if total < FEWEST_VALUES:
        return None
    index = 0.0
    for wanted, count in zip(expected, counts, strict=True):
        share, wanted = max(count / total, LEAST_SHARE), max(wanted, LEAST_SHARE)
        index += (share - wanted) * math.log(share / wanted)
    return round(index, 9)
