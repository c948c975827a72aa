"""Commands and events of a pipeline's clock: ticks, backfills, promises in time. The pipeline decides all of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from events.language.common import OptionalIdentifier, Timestamp
from events.language.pipelines.backfill import BackfillRerun
from events.language.pipelines.commands import OfPipeline
from events.language.pipelines.events import PipelineEvent
from events.language.pipelines.parameters import Parameters
from events.language.pipelines.pipeline import Note, Reason
from events.language.pipelines.sla import SlaKind

BackfillNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which backfill of its pipeline; the first is 1."""

IntervalCount = Annotated[int, Field(ge=0, lt=1 << 31)]


class StartBackfill(OfPipeline):
    """Run a pipeline for intervals of its schedule that are over, the oldest first. Its runs have a limit of their own,
    and give way to others where workers are few."""

    range_start: Timestamp
    """The first interval begins then, or later."""
    range_end: Timestamp
    """The last interval ends then, or earlier."""
    max_parallel: int = Field(default=1, ge=1, le=1_000)
    """Runs of it at a time. They do not count as `execution.max_active_runs`."""
    rerun: BackfillRerun = BackfillRerun.MISSING
    parameters: Parameters = Field(default_factory=dict)
    """Of its runs."""
    note: Note = ""
    """What it is for, for people."""

    @model_validator(mode="after")
    def _some_time(self) -> StartBackfill:
        if self.range_start >= self.range_end:
            raise ValueError("range_start is not before range_end; exchange them")
        return self


class CancelBackfill(OfPipeline):
    """Start no further run of a backfill, and cancel its runs that have not ended."""

    number: BackfillNumber
    reason: Reason = ""


class ScheduleFired(PipelineEvent):
    """The schedule's time has come. A run of this interval is queued with it."""

    at: Timestamp
    """The tick, where the interval ends."""
    interval_start: Timestamp
    tzdata_version: Annotated[str, Field(max_length=32)]
    """Release of the database of time zones by which the tick was computed."""


class TicksSkipped(PipelineEvent):
    """Ticks that have come and do not fire, as `catch_up` of the schedule says, or since too many runs wait."""

    first: Timestamp
    last: Timestamp
    ticks: Annotated[int, Field(ge=1, lt=1 << 31)]
    """How many."""


class ScheduleBroken(PipelineEvent):
    """The schedule can't be computed any more. It does not fire until the pipeline is defined anew, or paused and
    resumed."""

    reason: Reason


class SlaMissed(PipelineEvent):
    """A promise was not kept. Each kind is told once for a run."""

    kind: SlaKind
    deadline: Timestamp
    run_id: OptionalIdentifier = ""
    """The run; empty: none has begun for the tick."""
    tick: Timestamp | None = None
    """Of `finish_by`: the tick that was to be completed."""


class BackfillEvent(PipelineEvent):
    number: BackfillNumber


class BackfillStarted(BackfillEvent):
    """There is such a backfill from here on."""

    range_start: Timestamp
    range_end: Timestamp
    max_parallel: Annotated[int, Field(ge=1, le=1_000)]
    rerun: BackfillRerun
    parameters: Parameters = Field(default_factory=dict)
    intervals: IntervalCount
    """How many lie in its time."""
    note: Note = ""


class BackfillAdvanced(BackfillEvent):
    """Intervals need no run, since they have had one."""

    cursor: Timestamp
    """The end of the last interval that was looked at."""
    passed: IntervalCount


class BackfillEnded(BackfillEvent):
    """What the two ends of a backfill share."""

    reason: Reason = ""


class BackfillCompleted(BackfillEnded):
    """There is no interval left, and its runs have ended; some may have failed."""


class BackfillCancelled(BackfillEnded):
    """It was ended on request, or its pipeline was retired, or has no schedule any more."""


CLOCK_EVENTS = (
    ScheduleFired,
    TicksSkipped,
    ScheduleBroken,
    SlaMissed,
    BackfillStarted,
    BackfillAdvanced,
    BackfillCompleted,
    BackfillCancelled,
)
"""What a pipeline's clock writes."""
