"""What the passing of time leads to. Pure.

1. Ticks: what fires queues a run, and what is passed over is told (`ScheduleFired`, `TicksSkipped`).
2. Promises that were not kept (`SlaMissed`).
3. Backfills: as many runs as each may have at a time (`BackfillAdvanced`, `BackfillCompleted`).

A schedule that can't be computed is told once (`ScheduleBroken`), and does no harm to others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from events.language.base import Event
from events.language.pipelines.clock import backfilling, catching_up, promises
from events.language.pipelines.clock.ticks import ScheduleError, next_tick
from events.language.pipelines.clock.zones import TZDATA_VERSION
from events.language.pipelines.enums import PipelineStatus, RunTrigger
from events.language.pipelines.parameters import bound
from events.language.pipelines.run_events import RunQueued
from events.language.pipelines.schedule import CatchUp, Interval, Schedule
from events.language.pipelines.schedule_messages import (
    BackfillAdvanced,
    BackfillCancelled,
    BackfillCompleted,
    ScheduleBroken,
    ScheduleFired,
    SlaMissed,
    TicksSkipped,
)
from events.language.pipelines.sla import Sla, SlaKind
from services.pipelines.clock.state import Clock, OpenBackfill
from services.pipelines.pipeline.runs import queued
from services.pipelines.pipeline.state import Pipeline

MOST_WAITING = 100
"""Most runs of ticks that wait: further ticks wait too (catch-up `all`), or are skipped."""

BACKFILL_RANK = 100
"""Of a backfill's runs, behind those that are asked for and those of ticks."""


def due(state: Pipeline) -> datetime | None:
    """When `woken` has something to say."""
    clock = state.clock
    found = [*_run_deadlines(state)]
    if _runs_by_the_clock(state):
        try:
            found += [instant for instant in (_next_fire(state), _next_promise(state)) if instant is not None]
        except ScheduleError:
            found += [clock.handled] if clock.handled is not None else []
    return min((instant for instant in found if instant is not None), default=None)


def woken(state: Pipeline, pipeline_id: str, now: datetime) -> list[Event]:
    """The events of the time that has come. They move `due` into the future, or to None."""
    found = [*_late_runs(state, pipeline_id, now)]
    if not _runs_by_the_clock(state):
        return found
    try:
        return [*found, *_late_tick(state, pipeline_id, now), *_fired(state, pipeline_id, now)]
    except ScheduleError as error:
        return [*found, ScheduleBroken(pipeline_id=pipeline_id, reason=str(error))]


def backfilled(state: Pipeline, pipeline_id: str) -> list[Event]:
    """The next runs of backfills, and backfills that have ended. It comes to nothing once no more may run at a time."""
    found: list[Event] = []
    number = state.last_run
    for backfill, open in state.clock.backfills.items():
        events = _of_backfill(state, pipeline_id, backfill, open, number)
        number += sum(isinstance(event, RunQueued) for event in events)
        found += events
    return found


def _runs_by_the_clock(state: Pipeline) -> bool:
    spec, clock = state.spec, state.clock
    active = state.status is PipelineStatus.ACTIVE and clock.handled is not None
    return active and spec is not None and spec.schedule is not None and not clock.broken


@lru_cache(maxsize=4096)
def _tick_after(schedule: Schedule, instant: datetime) -> datetime | None:
    return next_tick(schedule, instant)


@lru_cache(maxsize=4096)
def _promise_after(sla: Sla, schedule: Schedule, judged: datetime) -> datetime | None:
    return promises.tick_deadline(sla, schedule, judged)


def _room(clock: Clock) -> int:
    return max(MOST_WAITING - clock.waiting(), 0)


def _next_fire(state: Pipeline) -> datetime | None:
    schedule, clock = _schedule(state), state.clock
    assert clock.handled is not None
    if schedule.catch_up is CatchUp.ALL and not _room(clock):
        return None
    return _tick_after(schedule, clock.handled)


def _next_promise(state: Pipeline) -> datetime | None:
    spec, judged = state.spec, state.clock.judged
    if spec is None or spec.sla is None or judged is None:
        return None
    return _promise_after(spec.sla, _schedule(state), judged)


def _schedule(state: Pipeline) -> Schedule:
    assert state.spec is not None
    assert state.spec.schedule is not None
    return state.spec.schedule


def _fired(state: Pipeline, id: str, now: datetime) -> Iterator[Event]:
    clock, next_fire = state.clock, _next_fire(state)
    if next_fire is None or next_fire > now:
        return
    assert clock.handled is not None
    skipped, fires = catching_up.handle(_schedule(state), clock.handled, now, _room(clock))
    if skipped is not None:
        yield TicksSkipped(pipeline_id=id, first=skipped.first, last=skipped.last, ticks=skipped.ticks)
    for number, tick in enumerate(fires, start=state.last_run + 1):
        yield ScheduleFired(
            pipeline_id=id, at=tick.at, interval_start=tick.interval.start, tzdata_version=TZDATA_VERSION
        )
        yield _queued(state, id, number, RunTrigger.SCHEDULE, tick.at.isoformat(), tick.interval)


def _run_deadlines(state: Pipeline) -> Iterator[datetime]:
    for _, _, deadline in _promised(state):
        yield deadline


def _late_runs(state: Pipeline, id: str, now: datetime) -> Iterator[Event]:
    for run_id, kind, deadline in _promised(state):
        if deadline <= now:
            yield SlaMissed(pipeline_id=id, kind=kind, deadline=deadline, run_id=run_id)


def _promised(state: Pipeline) -> Iterator[tuple[str, SlaKind, datetime]]:
    """What is still promised of runs under way, and by when."""
    sla = state.spec.sla if state.spec is not None else None
    if sla is None or state.status is PipelineStatus.PAUSED:
        return
    for run_id, run in state.clock.runs.items():
        if run.backfill:
            continue
        for kind in (SlaKind.START_WITHIN, SlaKind.FINISH_WITHIN):
            deadline = promises.run_deadline(sla, kind, run.due)
            kept = kind is SlaKind.START_WITHIN and run.started
            if deadline is not None and not kept and kind not in run.missed:
                yield run_id, kind, deadline


def _late_tick(state: Pipeline, id: str, now: datetime) -> Iterator[Event]:
    sla, judged, promise = state.spec.sla if state.spec is not None else None, state.clock.judged, _next_promise(state)
    if sla is None or judged is None or promise is None or promise > now:
        return
    found = promises.missed_tick(sla, _schedule(state), now)
    if found is not None and found[0] > judged:
        tick, deadline = found
        run_id = next((id for id, run in state.clock.runs.items() if run.scheduled and run.end == tick), "")
        yield SlaMissed(pipeline_id=id, kind=SlaKind.FINISH_BY, deadline=deadline, run_id=run_id, tick=tick)


def _of_backfill(state: Pipeline, id: str, number: int, backfill: OpenBackfill, last_run: int) -> Sequence[Event]:
    spec = state.spec
    if state.status is PipelineStatus.CANCELLED:
        return [BackfillCancelled(pipeline_id=id, number=number, reason="the pipeline was retired")]
    if spec is None or spec.schedule is None:
        return [BackfillCancelled(pipeline_id=id, number=number, reason="the pipeline has no schedule any more")]
    under_way = len(state.clock.of_backfill(number))
    if backfill.exhausted:
        return [] if under_way else [BackfillCompleted(pipeline_id=id, number=number)]
    room = backfill.max_parallel - under_way
    if room <= 0 or state.status is PipelineStatus.PAUSED:
        return []
    covered = (state.clock.tried, state.clock.completed)
    try:
        step = backfilling.step(spec.schedule, backfill.cursor, backfill.until, room, backfill.rerun, *covered)
    except ScheduleError as error:
        return [BackfillCancelled(pipeline_id=id, number=number, reason=str(error))]
    runs = [
        _queued(state, id, run, RunTrigger.BACKFILL, str(number), interval, backfill.parameters, BACKFILL_RANK)
        for run, interval in enumerate(step.run, start=last_run + 1)
    ]
    if not step.passed and not step.exhausted:
        return runs
    cursor = backfill.until if step.exhausted else step.cursor
    return [*runs, BackfillAdvanced(pipeline_id=id, number=number, cursor=cursor, passed=step.passed)]


def _queued(
    state: Pipeline,
    id: str,
    number: int,
    trigger: RunTrigger,
    trigger_id: str,
    interval: Interval,
    parameters: Mapping[str, str] | None = None,
    rank: int = 0,
) -> RunQueued:
    assert state.spec is not None
    values, _ = bound(state.spec.parameters, parameters or {})
    return queued(
        state,
        id,
        state.project,
        trigger=trigger,
        trigger_id=trigger_id,
        parameters=values,
        interval_start=interval.start,
        interval_end=interval.end,
        rank=rank,
        number=number,
    )
