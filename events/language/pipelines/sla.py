"""What a pipeline's runs are held to in time. A miss is told while the run waits or runs, not once it has ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model

TimeOfDay = Annotated[str, StringConstraints(pattern=r"^$|^([01][0-9]|2[0-3]):[0-5][0-9]$"), Field(examples=["06:00"])]
"""``HH:MM``; empty: none."""

MAX_WITHIN_SECONDS = 31_622_400.0
"""A leap year."""


class SlaKind(StrEnum):
    """Which promise was missed."""

    START_WITHIN = "start_within"
    FINISH_WITHIN = "finish_within"
    FINISH_BY = "finish_by"


class Sla(Model):
    """What runs are held to. Each kind is missed at most once by a run. Runs of a backfill are not held to it."""

    start_within_seconds: Annotated[float, Field(gt=0, le=MAX_WITHIN_SECONDS)] | None = None
    """From when the run is due (its tick, or when it was asked for) until it starts."""
    finish_within_seconds: Annotated[float, Field(gt=0, le=MAX_WITHIN_SECONDS)] | None = None
    """From when the run is due until it is completed."""
    finish_by: TimeOfDay = ""
    """At this time of day, in the zone of the schedule, the run of the last tick before it is completed: also when no
    run began, as of a tick that waits or was skipped. It needs a schedule."""

    @model_validator(mode="after")
    def _says_something(self) -> Sla:
        start, finish = self.start_within_seconds, self.finish_within_seconds
        if start is None and finish is None and not self.finish_by:
            raise ValueError("give at least one of start_within_seconds, finish_within_seconds and finish_by")
        if start is not None and finish is not None and start > finish:
            raise ValueError(f"start_within_seconds {start:g} is above finish_within_seconds {finish:g}")
        return self
