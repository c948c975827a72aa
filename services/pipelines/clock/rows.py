"""The tables of backfills and of missed promises, and how events change them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from events.language.base import Message
from events.language.pipelines.backfill import BackfillStatus
from events.language.pipelines.clock_answers import Backfill, SlaMiss
from events.language.pipelines.enums import RunTrigger
from events.language.pipelines.run_events import RunQueued
from events.language.pipelines.schedule_messages import (
    BackfillAdvanced,
    BackfillCancelled,
    BackfillCompleted,
    BackfillEvent,
    BackfillStarted,
    ScheduleBroken,
    ScheduleFired,
    SlaMissed,
    TicksSkipped,
)
from events.log.envelope import Meta, Recorded
from events.projections.projection import Key, Row, Rows, Table
from events.projections.row_models import table_of

BACKFILLS = table_of(
    Backfill,
    "backfills",
    key=("pipeline_id", "number"),
    indexes=("started_at desc, pipeline_id desc, number desc",),
    born="started_at",
)

SLA_MISSES = table_of(
    SlaMiss,
    "sla_misses",
    key=("pipeline_id", "kind", "deadline", "run_id"),
    indexes=("missed_at desc, pipeline_id desc, kind desc, run_id desc",),
    born="missed_at",
)

TABLES = (BACKFILLS, SLA_MISSES)


def touched(event: Message) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    match event:
        case BackfillEvent():
            yield BACKFILLS, (event.pipeline_id, event.number)
        case RunQueued() if event.trigger is RunTrigger.BACKFILL:
            yield BACKFILLS, (event.pipeline_id, int(event.trigger_id))
        case SlaMissed():
            yield SLA_MISSES, (event.pipeline_id, event.kind.value, event.deadline, event.run_id)


def put(recorded: Recorded, event: Message, rows: Rows) -> None:
    """Write what an event changes."""
    match event:
        case BackfillStarted():
            rows.put(BACKFILLS, _started(event, recorded.meta))
        case BackfillEvent():
            _change(rows, event.pipeline_id, event.number, _said(event, recorded.meta))
        case RunQueued() if event.trigger is RunTrigger.BACKFILL:
            _change(rows, event.pipeline_id, int(event.trigger_id), {"cursor": event.interval_end}, runs=1)
        case SlaMissed():
            row = SLA_MISSES.first(
                pipeline_id=event.pipeline_id,
                kind=event.kind.value,
                deadline=event.deadline,
                run_id=event.run_id,
                project=recorded.meta.project,
                tick=event.tick,
                missed_at=recorded.meta.time,
            )
            rows.put(SLA_MISSES, row)


def _started(event: BackfillStarted, meta: Meta) -> Row:
    return BACKFILLS.first(
        pipeline_id=event.pipeline_id,
        number=event.number,
        project=meta.project,
        range_start=event.range_start,
        range_end=event.range_end,
        cursor=event.range_start,
        max_parallel=event.max_parallel,
        rerun=event.rerun.value,
        parameters=dict(event.parameters),
        status=BackfillStatus.RUNNING.value,
        intervals=event.intervals,
        note=event.note,
        author=meta.actor,
        started_at=meta.time,
    )


def _said(event: BackfillEvent, meta: Meta) -> dict[str, Any]:
    match event:
        case BackfillAdvanced():
            return {"cursor": event.cursor, "passed": event.passed}
        case BackfillCompleted():
            return {"status": BackfillStatus.COMPLETED.value, "ended_at": meta.time}
        case BackfillCancelled():
            return {"status": BackfillStatus.CANCELLED.value, "reason": event.reason, "ended_at": meta.time}
    return {}


def _change(rows: Rows, pipeline_id: str, number: int, said: dict[str, Any], runs: int = 0) -> None:
    found = rows.get(BACKFILLS, (pipeline_id, number))
    assert found is not None, "the decider lets nothing come before the start"
    passed = found["passed"] + said.pop("passed", 0)
    rows.put(BACKFILLS, {**found, **said, "passed": passed, "runs": found["runs"] + runs})


def of_pipeline(event: Message, found: Row) -> Row:
    """What an event changes in its pipeline's row."""
    match event:
        case ScheduleFired():
            return {"last_tick": event.at, "schedule_problem": ""}
        case TicksSkipped():
            return {"skipped_ticks": found["skipped_ticks"] + event.ticks}
        case ScheduleBroken():
            return {"schedule_problem": event.reason}
        case SlaMissed():
            return {"sla_misses": found["sla_misses"] + 1}
    return {}
