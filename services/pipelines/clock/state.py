"""What a pipeline remembers of time: the last tick, runs under way, backfills, and which time its runs have covered."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from events.language.pipelines.backfill import BackfillRerun
from events.language.pipelines.clock.coverage import Coverage
from events.language.pipelines.sla import SlaKind


@dataclass(slots=True)
class TimedRun:
    """A run that has not ended."""

    due: datetime
    """Its tick, or when it was asked for: what an SLA counts from."""
    scheduled: bool = False
    """Whether a tick made it."""
    backfill: int = 0
    """The backfill that made it; 0: none."""
    start: datetime | None = None
    """Of its interval; None: it is about none."""
    end: datetime | None = None
    started: bool = False
    missed: set[SlaKind] = field(default_factory=set)


@dataclass(slots=True)
class OpenBackfill:
    """A backfill that has not ended."""

    cursor: datetime
    """The end of the last interval that was looked at; its begin before."""
    until: datetime
    max_parallel: int
    rerun: BackfillRerun
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def exhausted(self) -> bool:
        """Whether no interval is left."""
        return self.cursor >= self.until


@dataclass(slots=True)
class Clock:
    """A pipeline's time, as its events tell it."""

    handled: datetime | None = None
    """The last tick that fired or was skipped, or from when on ticks count. None: the pipeline was never active."""
    broken: bool = False
    judged: datetime | None = None
    """The newest tick that was completed or missed, as `finish_by` asks; or from when on that counts."""
    runs: dict[str, TimedRun] = field(default_factory=dict)
    """By id."""
    failed: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """The intervals of runs that failed, and may be retried."""
    backfills: dict[int, OpenBackfill] = field(default_factory=dict)
    last_backfill: int = 0
    tried: Coverage = field(default_factory=Coverage)
    """The intervals of runs that have ended, however."""
    completed: Coverage = field(default_factory=Coverage)
    """The intervals of runs that completed."""

    def waiting(self) -> int:
        """How many runs of ticks have not begun."""
        return sum(run.scheduled and not run.started for run in self.runs.values())

    def of_backfill(self, number: int) -> list[str]:
        """The runs of a backfill that have not ended, by id."""
        return [run for run, timed in self.runs.items() if timed.backfill == number]
