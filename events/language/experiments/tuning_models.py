"""Values of hyperparameter tuning; `HyperparameterTuningJob` and `Trial` are what queries answer, and rows of tables.

What Optuna's clients keep is kept as they wrote it: attributes and distributions are JSON text that nothing here
interprets, but for the choice that a parameter's number stands for.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from events.language.base import Model
from events.language.common import Identifier, OptionalIdentifier, ProjectName, Timestamp, shown
from events.language.experiments.tuning_pruning import Objective
from events.language.experiments.tuning_space import TuningPlan
from events.language.jobs.spec import JobSpec
from events.language.moves import Moves

MAX_TRIALS = 1 << 24
"""Most trials of a tuning. Optuna's number of a trial is ``tuning << 24 | number``, so ids rise with both."""

MAX_JSON = 100_000
"""Most characters of an attribute or a distribution."""

NAN = "NaN"


class Direction(StrEnum):
    """Whether an objective is the better the lower or the higher it is."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class TuningStatus(StrEnum):
    """How a tuning stands. The allowed moves are in `TUNING_MOVES`."""

    RUNNING = "running"
    PAUSED = "paused"
    """No new trial begins; those that run go on."""
    COMPLETED = "completed"
    """It has had its trials or its time, or got no better."""
    STOPPED = "stopped"
    """Somebody ended it."""


class TrialStatus(StrEnum):
    """How a trial stands. The allowed moves are in `TRIAL_MOVES`."""

    REQUESTED = "requested"
    """It waits until somebody takes it up; where the platform searches, until its values are chosen."""
    PROPOSED = "proposed"
    """Its values are chosen, and it waits until somebody takes it up."""
    RUNNING = "running"
    COMPLETED = "completed"
    PRUNED = "pruned"
    """It was given up early, since it did not promise well."""
    FAILED = "failed"


class Scope(StrEnum):
    """Whose an attribute is."""

    USER = "user"
    """The program's."""
    SYSTEM = "system"
    """The algorithm's own."""


class TrialEnd(StrEnum):
    """How a trial ends; the last of `TrialStatus`."""

    COMPLETED = "completed"
    PRUNED = "pruned"
    FAILED = "failed"


TRIAL_ENDS = tuple(TrialStatus(each) for each in TrialEnd)
"""The statuses of trials that have ended."""

TUNING_ENDS = (TuningStatus.COMPLETED, TuningStatus.STOPPED)
"""How tunings end."""

TUNING_MOVES: Moves[TuningStatus] = {
    TuningStatus.RUNNING: frozenset({TuningStatus.PAUSED, *TUNING_ENDS}),
    TuningStatus.PAUSED: frozenset({TuningStatus.RUNNING, *TUNING_ENDS}),
    **dict.fromkeys(TUNING_ENDS, frozenset()),
}
"""A tuning; it starts as `running`."""

TRIAL_MOVES: Moves[TrialStatus] = {
    TrialStatus.REQUESTED: frozenset({TrialStatus.PROPOSED, TrialStatus.RUNNING, *TRIAL_ENDS}),
    TrialStatus.PROPOSED: frozenset({TrialStatus.RUNNING, *TRIAL_ENDS}),
    # Back again: its process is lost, and the next attempt is to begin. Values that were proposed stay.
    TrialStatus.RUNNING: frozenset({TrialStatus.REQUESTED, TrialStatus.PROPOSED, *TRIAL_ENDS}),
    **dict.fromkeys(TRIAL_ENDS, frozenset()),
}
"""A trial; it starts as `requested`, as `running`, or, if it was made elsewhere, as it ended there."""


def _number(value: Any) -> Any:
    """A number as text: ``repr`` of a double, or the words that JSON lacks."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value  # refused by its type
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"is {shown(value)}; give a number, NaN, Infinity or -Infinity") from None
    if math.isnan(number):
        return NAN
    return repr(number) if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"


DOUBLE_PATTERN = r"^(-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|-?Infinity|NaN)$"

Double = Annotated[
    str,
    StringConstraints(pattern=DOUBLE_PATTERN, max_length=32),
    Field(examples=["0.125"]),
    BeforeValidator(_number),  # last: what stands before it would not say its pattern in the JSON schema
]
"""A floating-point number in words, exact to its last bit: ``0.125``, ``NaN``, ``Infinity``, ``-Infinity``. A number
is taken too."""

JsonText = Annotated[str, StringConstraints(max_length=MAX_JSON), Field(examples=['{"layers": 3}'])]
"""JSON as a text, kept as it was written; ``NaN`` and ``Infinity`` may stand in it, as Python writes them. What is none
is refused when it is decided."""

AttributeKey = Annotated[str, StringConstraints(max_length=512)]

Attributes = Annotated[dict[AttributeKey, JsonText], Field(max_length=10_000)]
"""Key → JSON text."""

TuningName = Annotated[str, StringConstraints(max_length=512)]
"""Of any characters, also empty: it is a name like another."""

TuningNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which tuning of its project; the first is 1. No number is given twice."""

TrialNumber = Annotated[int, Field(ge=0, lt=MAX_TRIALS)]
"""Which trial of its tuning; the first is 0."""

Step = Annotated[int, Field(ge=-(1 << 63), le=(1 << 63) - 1)]


class TrialParameter(Model):
    """A hyperparameter's value in a trial."""

    name: AttributeKey
    value: Double
    """As the distribution counts: the number itself, or which of the choices, from 0."""
    distribution: JsonText
    """What it was drawn from, as Optuna writes it: ``{"name": "FloatDistribution", "attributes": {"low": 0.0, …}}``."""


class IntermediateValue(Model):
    """What a trial reported before its end."""

    step: Step
    value: Double


class EarlyStopping(Model):
    """When a tuning that gets no better is completed."""

    patience: Annotated[int, Field(ge=1, le=MAX_TRIALS)]
    """Completed trials in a row that may bring nothing better."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """By how much a value must be better to count as better."""


class TuningLimits(Model):
    """How much a tuning may use. What is left out has no limit."""

    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    """All that there will be, however they end."""
    parallel: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Trials that run at the same time."""
    seconds: Annotated[float, Field(gt=0, le=10 * 366 * 86_400)] | None = None
    """From its creation on; then it is completed."""


class HyperparameterTuningJob(Model):
    """A search for the hyperparameters that do best, as queries tell of it."""

    tuning_id: Identifier
    project: ProjectName
    number: TuningNumber
    name: str
    owner: str
    """Who made it."""
    directions: tuple[Direction, ...]
    """One for each objective."""
    limits: TuningLimits = TuningLimits()
    early_stopping: EarlyStopping | None = None
    plan: TuningPlan | None = None
    """How the platform searches; None: its clients do."""
    job: JobSpec | None = None
    """What each trial runs as a job of its own; None: programs take trials up."""
    objectives: tuple[Objective, ...] = ()
    """The metrics that the trials' jobs log, one for each direction. Empty: who runs a trial tells its values."""
    status: TuningStatus
    reason: str = ""
    """Why it ended."""
    trials: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = 0
    """All that there are."""
    completed: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = 0
    pruned: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = 0
    failed: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = 0
    best_trial: TrialNumber | None = None
    """The completed trial with the best value, the earliest of equals. None with several objectives, of which none
    alone is best."""
    best_value: Double | None = None
    adopted: Annotated[int, Field(ge=0, le=(1 << 31) - 1)] = 0
    """Trials of other tunings that its search knows."""
    user_attributes: dict[str, str] = Field(default_factory=dict)
    system_attributes: dict[str, str] = Field(default_factory=dict)
    created_at: Timestamp
    updated_at: Timestamp
    ended_at: Timestamp | None = None
    deleted_at: Timestamp | None = None
    experiment_id: OptionalIdentifier = ""
    """The experiment that it is of; empty for none."""
    experiment: str = ""
    """That experiment's name, as it was when the tuning was made."""


class Trial(Model):
    """One try of a tuning, as queries tell of it."""

    tuning_id: Identifier
    number: TrialNumber
    status: TrialStatus
    attempt: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Which process works at it; it is 1 more whenever one was lost."""
    job_id: OptionalIdentifier = ""
    """The job that runs it."""
    parameters: tuple[TrialParameter, ...] = ()
    """In the order in which they were set."""
    objective_values: tuple[Double, ...] = ()
    """One for each objective, once it has ended with values."""
    last_step: Step | None = None
    """The last step that its present attempt has reported, and what."""
    last_value: Double | None = None
    reason: str = ""
    user_attributes: dict[str, str] = Field(default_factory=dict)
    system_attributes: dict[str, str] = Field(default_factory=dict)
    requested_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    updated_at: Timestamp


def is_better(value: str, than: str | None, direction: Direction, by: float = 0.0) -> bool:
    """Whether a value is better than the best so far (None: there is none), by more than nothing and at least `by`."""
    if than is None:
        return True
    gained = float(than) - float(value) if direction is Direction.MINIMIZE else float(value) - float(than)
    return gained > 0 and gained >= by
