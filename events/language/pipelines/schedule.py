"""When a pipeline runs by the clock, and which stretch of time each run is about.

The types hold what a schedule looks like. Whether a zone exists and an expression can be computed is decided when a
pipeline is defined: the database of zones and the library of expressions change, and events stay readable.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Timestamp
from events.language.jobs.spec_placement import TimeZone

CronText = Annotated[
    str,
    StringConstraints(pattern=r"^$|^[^ \t]+([ \t]+[^ \t]+){4}$", max_length=200),
    Field(examples=["30 1 * * *"]),
]
"""Minute, hour, day of month, month, day of week, as in Debian's cron; empty: none."""

MAX_EVERY_SECONDS = 31_622_400
"""A leap year."""


class CatchUp(StrEnum):
    """What becomes of ticks that passed while nothing could run them: the service was down, or the pipeline paused."""

    LATEST = "latest"
    """The newest one runs, the others are skipped."""
    ALL = "all"
    """Each one runs, oldest first."""
    NONE = "none"
    """All of them are skipped."""


class Interval(Model):
    """A stretch of time, from `start` on and before `end`. It is never empty."""

    start: Timestamp
    end: Timestamp

    @model_validator(mode="after")
    def _not_empty(self) -> Interval:
        if self.start >= self.end:
            raise ValueError(
                f"end {self.end.isoformat()} is not after start {self.start.isoformat()}; give a later end"
            )
        return self


class Tick(Model):
    """A time at which a schedule fires."""

    at: Timestamp
    interval: Interval
    """From the tick before it to the tick: what a run of it is about."""


class Schedule(Model):
    """When a pipeline runs by the clock: by `cron`, or each `every_seconds`.

    Where clocks change: a time that is left out fires right after the gap, and a time that comes twice fires the first
    time. An expression whose minutes or hours begin with ``*`` follows elapsed time instead: it fires in the repeated
    hour twice, and not at times that are left out.
    """

    cron: CronText = ""
    every_seconds: Annotated[int, Field(ge=1, le=MAX_EVERY_SECONDS)] | None = None
    """Counted from `start_at` on, or from 1970-01-01T00:00Z. Clock changes are of no account."""
    timezone: TimeZone = "UTC"
    """The zone of `cron`."""
    start_at: Timestamp | None = None
    """The first tick is after it."""
    end_at: Timestamp | None = None
    """No tick is after it."""
    catch_up: CatchUp = CatchUp.LATEST

    @model_validator(mode="after")
    def _fits(self) -> Schedule:
        if bool(self.cron) == (self.every_seconds is not None):
            raise ValueError("give either cron, such as '30 1 * * *', or every_seconds, such as 900")
        if self.every_seconds is not None and self.timezone != "UTC":
            raise ValueError("timezone is for cron only; every_seconds counts seconds: leave timezone out")
        if self.start_at is not None and self.end_at is not None and self.start_at >= self.end_at:
            raise ValueError("end_at is not after start_at; give a later one")
        return self
