"""What a search learns from other tunings before it begins: their completed trials. Pure.

They become an event of the search's own tuning, so a proposal still follows from that tuning's events alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from events.language.common import Refused
from events.language.experiments import Dimension, DimensionKind, TuningCreated
from events.language.experiments.tuning_following import (
    MAX_ADOPTED,
    MAX_ADOPTED_VALUES,
    AdoptedTrial,
    AdoptTrials,
)
from events.writer.decider import Question
from forgelog_pb.experiments.v1 import tunings_pb2 as pb
from forgelog_pb.experiments.v1.tunings_pb2_grpc import TuningQueriesStub
from services.experiments.tuning import distributions

_PAGE = 10_000
"""Trials that are asked for, by number."""


def questions(event: TuningCreated) -> Sequence[Question]:
    """What is asked of the tunings that a plan names, one question each."""
    named = () if event.plan is None else event.plan.warm_start
    return [Question("experiments", TuningQueriesStub, "ListTrials", _request(source)) for source in named]


def _request(source: str) -> Any:
    return pb.ListTrialsRequest(tuning_id=source, statuses=["TRIAL_STATUS_COMPLETED"], page={"limit": _PAGE})


def adoption(event: TuningCreated, source: str, answer: Any) -> AdoptTrials:
    """The trials that fit, as many as may be: the newest ones."""
    assert event.plan is not None
    space = {each.name: each for each in event.plan.space}
    most = max(1, min(MAX_ADOPTED, MAX_ADOPTED_VALUES // len(space)))
    given = [] if isinstance(answer, Refused) else answer.trials
    fitting = [found for each in given if (found := _adopted(space, each)) is not None]
    return AdoptTrials(tuning_id=event.tuning_id, source=source, trials=tuple(fitting[-most:]))


def _adopted(space: dict[str, Dimension], trial: Any) -> AdoptedTrial | None:
    """A trial with those of its hyperparameters that are searched; None if there are none, or one is out of bounds."""
    found: dict[str, str] = {}
    for each in trial.parameters:
        dimension = space.get(each.name)
        if dimension is None:
            continue
        value = _counted(dimension, distributions.external(float(each.value), each.distribution))
        if value is None:
            return None
        found[each.name] = value
    if not found:
        return None
    return AdoptedTrial(number=trial.number, parameters=found, objective_values=tuple(trial.objective_values))


def _counted(dimension: Dimension, value: Any) -> str | None:
    """A value as a dimension counts it; None if it is none of its values."""
    if dimension.kind is DimensionKind.CATEGORICAL:
        text = json.dumps(value)
        return str(float(dimension.choices.index(text))) if text in dimension.choices else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    assert dimension.low is not None
    assert dimension.high is not None
    whole = dimension.kind is not DimensionKind.INT or value == int(value)
    return str(float(value)) if whole and dimension.low <= value <= dimension.high else None
