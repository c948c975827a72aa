"""How events change a pipeline's time. The events of its runs say what waits, and what has run."""

from __future__ import annotations

from datetime import datetime

from events.language.base import Event
from events.language.pipelines.enums import RunTrigger
from events.language.pipelines.events import PipelineActivated, PipelineDefined, PipelineResumed
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_events import (
    RunCompleted,
    RunEnded,
    RunEvent,
    RunFailed,
    RunQueued,
    RunRetried,
    RunStarted,
)
from events.language.pipelines.schedule import Interval
from events.language.pipelines.schedule_messages import (
    BackfillAdvanced,
    BackfillEnded,
    BackfillStarted,
    ScheduleBroken,
    ScheduleFired,
    SlaMissed,
    TicksSkipped,
)
from events.language.pipelines.sla import SlaKind
from services.pipelines.clock.state import Clock, OpenBackfill, TimedRun

MOST_FAILED = 1_000
"""Most failed runs whose intervals are kept for a retry."""


def evolve(clock: Clock, event: Event, time: datetime, spec: PipelineSpec | None) -> None:
    """Changes the clock. `spec` is the pipeline as it was before the event."""
    match event:
        case PipelineDefined():
            if spec is not None and event.spec.schedule != spec.schedule:
                _begin(clock, time if clock.handled is not None else None)
        case PipelineActivated():
            _begin(clock, time)
        case PipelineResumed():
            # What was to be done in the pause was not promised.
            clock.broken, clock.judged = False, time
        case ScheduleFired():
            clock.handled = event.at
        case TicksSkipped():
            clock.handled = event.last
        case ScheduleBroken():
            clock.broken = True
        case SlaMissed():
            _missed(clock, event)
        case BackfillStarted():
            clock.last_backfill = event.number
            clock.backfills[event.number] = OpenBackfill(
                event.range_start, event.range_end, event.max_parallel, event.rerun, dict(event.parameters)
            )
        case BackfillAdvanced():
            clock.backfills[event.number].cursor = event.cursor
        case BackfillEnded():
            clock.backfills.pop(event.number, None)
        case RunEvent():
            _of_run(clock, event, time)


def _begin(clock: Clock, time: datetime | None) -> None:
    clock.handled = clock.judged = time
    clock.broken = False


def _of_run(clock: Clock, event: RunEvent, time: datetime) -> None:
    id = event.run_id
    match event:
        case RunQueued():
            clock.runs[id] = _timed(event, time)
            backfill = clock.backfills.get(clock.runs[id].backfill)
            if backfill is not None and event.interval_end is not None:
                backfill.cursor = event.interval_end
        case RunStarted():
            if id in clock.runs:
                clock.runs[id].started = True
        case RunRetried():
            start, end = clock.failed.pop(id, (None, None))
            # It is late already: nothing is promised of it.
            clock.runs[id] = TimedRun(time, start=start, end=end, started=True, missed=set(SlaKind))
        case RunEnded():
            run = clock.runs.pop(id, None)
            if run is not None:
                _ended(clock, run, event)


def _timed(event: RunQueued, time: datetime) -> TimedRun:
    scheduled = event.trigger is RunTrigger.SCHEDULE
    backfill = int(event.trigger_id) if event.trigger is RunTrigger.BACKFILL else 0
    due = event.interval_end if scheduled and event.interval_end is not None else time
    return TimedRun(due, scheduled, backfill, event.interval_start, event.interval_end)


def _ended(clock: Clock, run: TimedRun, event: RunEnded) -> None:
    if run.start is None or run.end is None:
        return
    interval = Interval(start=run.start, end=run.end)
    clock.tried.add(interval)
    if isinstance(event, RunCompleted):
        clock.completed.add(interval)
        if clock.judged is not None and not run.backfill:
            clock.judged = max(clock.judged, run.end)
    elif isinstance(event, RunFailed):
        clock.failed[event.run_id] = (run.start, run.end)
        while len(clock.failed) > MOST_FAILED:
            del clock.failed[next(iter(clock.failed))]


def _missed(clock: Clock, event: SlaMissed) -> None:
    if event.tick is not None:
        clock.judged = event.tick
        return
    run = clock.runs.get(event.run_id)
    if run is not None:
        run.missed.add(event.kind)
