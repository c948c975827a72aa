"""Backfills and missed promises as queries answer them; their tables have these fields as columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, ProjectName, Timestamp
from events.language.pipelines.backfill import BackfillRerun, BackfillStatus
from events.language.pipelines.parameters import Parameters
from events.language.pipelines.schedule_messages import BackfillNumber
from events.language.pipelines.sla import SlaKind

_Count = Annotated[int, Field(ge=0, lt=1 << 31)]


class Backfill(Model):
    """A backfill."""

    pipeline_id: Identifier
    number: BackfillNumber
    project: ProjectName
    range_start: Timestamp
    range_end: Timestamp
    cursor: Timestamp
    """The end of the last interval that was looked at."""
    max_parallel: _Count
    rerun: BackfillRerun
    parameters: Parameters = Field(default_factory=dict)
    status: BackfillStatus
    reason: str = ""
    """Why it was cancelled."""
    intervals: _Count
    """How many lie in its time."""
    passed: _Count = 0
    """How many of them needed no run."""
    runs: _Count = 0
    """How many runs it has queued."""
    note: str = ""
    author: str
    """Who started it."""
    started_at: Timestamp
    ended_at: Timestamp | None = None


class SlaMiss(Model):
    """A promise that was not kept."""

    pipeline_id: Identifier
    kind: SlaKind
    deadline: Timestamp
    run_id: str = ""
    """Empty: no run had begun for the tick."""
    project: ProjectName
    tick: Timestamp | None = None
    """Of `finish_by`: the tick that was to be completed."""
    missed_at: Timestamp
    """When it was noticed."""
