"""Commands and events by which the platform follows the trials of its own searches: what their jobs come to, and that
one is given up early."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.common import Attempt
from events.language.experiments.tuning import AttemptCommand, TrialEvent
from events.language.experiments.tuning_models import Double, Step

KnownEvents = Annotated[int, Field(ge=1, le=(1 << 63) - 1)]
"""How many of the tuning's own events were known when something was found. They are in one partition, in one order."""


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
