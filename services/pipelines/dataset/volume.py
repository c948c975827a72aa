"""Whether a version has far more or fewer rows than those before it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from events.language.pipelines.contracts import VolumePolicy


class Judgement(NamedTuple):
    """What a number of rows was compared with."""

    median: float
    deviation: float
    """The median absolute deviation, or the policy's floor where that is more."""


def anomaly(rows: int, before: Sequence[int], policy: VolumePolicy) -> Judgement | None:
    """What makes a version's `rows` anomalous, beside those of the versions before it, the newest last. None: nothing
    does, or there are too few to tell."""
    compared = before[-policy.versions :]
    if len(compared) < policy.least_versions:
        return None
    middle = float(median(compared))
    deviation = max(float(median(abs(count - middle) for count in compared)), policy.floor * middle)
    return Judgement(middle, deviation) if abs(rows - middle) > policy.deviations * deviation else None
