"""What a trial's value is by the points of its runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from events.language.experiments import Direction
from events.language.experiments.tuning_pruning import Objective, Take

if TYPE_CHECKING:
    from services.experiments.points.reading import StoredSeries


def series_of(series: Sequence[StoredSeries], runs: Sequence[str], metric: str) -> list[StoredSeries]:
    """The series of a metric, in the first run that has any; several where it was logged of models or data sets."""
    for run in runs:
        if found := [each for each in series if each.run == run and each.name.key == metric]:
            return found
    return []


def value_of(series: Sequence[StoredSeries], objective: Objective, direction: Direction) -> float | str:
    """The value of an objective, or why there is none."""
    from services.experiments.points.tally import total

    name = objective.metric
    told = total(each.tally for each in series)
    if told is None:
        return f"its run logged no {name!r}"
    lowest = objective.take is Take.MIN or (objective.take is Take.BEST and direction is Direction.MINIMIZE)
    value = told.last_value if objective.take is Take.LAST else told.low if lowest else told.high
    if value is None or math.isnan(value):
        which = "the last value" if objective.take is Take.LAST else "every value"
        return f"{which} of {name!r} is NaN"
    return value
