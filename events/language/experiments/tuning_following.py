"""Commands and events of the platform's own searches: what the jobs of trials come to, that a trial is given up early,
and what a search learns from other tunings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Attempt, Identifier
from events.language.experiments.tuning import AttemptCommand, TrialEvent, TuningCommand, TuningEvent
from events.language.experiments.tuning_models import AttributeKey, Double, Step

KnownEvents = Annotated[int, Field(ge=1, le=(1 << 63) - 1)]
"""How many of the tuning's own events were known when something was found. They are in one partition, in one order."""


MAX_ADOPTED = 1_000
"""Trials that a search learns from another tuning."""
MAX_ADOPTED_VALUES = 20_000
"""Their hyperparameters' values, all together."""


class AdoptedTrial(Model):
    """A completed trial of another tuning."""

    number: Annotated[int, Field(ge=0, le=(1 << 31) - 1)]
    """Which trial of that tuning."""
    parameters: Annotated[dict[AttributeKey, Double], Field(min_length=1, max_length=1_000)]
    """Hyperparameter → its value, as the distribution of this tuning's plan counts it."""
    objective_values: Annotated[tuple[Double, ...], Field(min_length=1, max_length=100)]


class TrialsAdopted(TuningEvent):
    """Its search knows these trials of another tuning, whose hyperparameters are within its own space."""

    source: Identifier
    trials: tuple[AdoptedTrial, ...] = ()


class AdoptTrials(TuningCommand):
    """Let a search know trials of a tuning that its plan names. The platform says it, once for each."""

    source: Identifier
    trials: tuple[AdoptedTrial, ...] = Field(default=(), max_length=MAX_ADOPTED)


class TrialJobCompleted(TrialEvent):
    """Its job is complete. Its value is what the job's run has logged, which is read now."""

    attempt: Attempt = 1


class TrialPruned(TrialEvent):
    """It does not promise well, as follows from the plan and the tuning's first `known_events` events. It ends with
    that."""

    attempt: Attempt = 1
    step: Step
    """How far it had got."""
    value: Double
    """What it had reported there."""
    known_events: KnownEvents
    algorithm_version: str
    """What found it, such as ``optuna 5.0.0``."""


class PruneTrial(AttemptCommand):
    """Give up a running trial that does not promise well, where the platform searches. Its job is cancelled."""

    step: Step
    value: Double
    known_events: KnownEvents
    algorithm_version: Annotated[str, Field(max_length=100)]
