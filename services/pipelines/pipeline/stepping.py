"""What follows from a pipeline's state and the time: runs begin, stages are given out, time-outs pass, runs end. Pure.

`step` returns the first of these that there is something of; the next call sees the state after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from events.language.base import Event
from events.language.pipelines import parameters
from events.language.pipelines.conditions import ConditionError, holds, run_value, stage_value
from events.language.pipelines.enums import (
    PipelineStatus,
    RunTrigger,
    SkipReason,
    StageStatus,
    StopReason,
)
from events.language.pipelines.run_events import (
    ConditionHeld,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunStopping,
    StageCompleted,
    StageSkipped,
    StageStopRequested,
    TasksEnded,
    WorkerReleased,
)
from events.language.pipelines.work import FailureKind, StageFailure
from services.pipelines.clock import waking
from services.pipelines.pipeline import commits, dispatching, silence
from services.pipelines.pipeline.failures import failed
from services.pipelines.pipeline.runs import is_publishing, stopped
from services.pipelines.pipeline.state import Pipeline, Run, Stage
from services.pipelines.triggers import firing, watching

MOST_BYTES_AT_ONCE = 1_000_000
"""Of orders that are given in one step; one is given in any case."""
START_SECONDS = 120.0
"""Time that a worker has to begin with what it was given."""
RANGE_GRACE_SECONDS = 10.0
"""Beyond a stage's limit, for a range of its tasks: the worker keeps the limit itself, and says what came of it."""
PUBLISH_SECONDS, LEAST_PUBLISH_SECONDS = 600.0, 60.0
"""Time that a worker has to put a version into its place, of a stage without a limit of its own; and at least, of one
whose limit is shorter: that is about its work, and one that is stopped amid a publication only begins it again."""


class At(NamedTuple):
    """Of which pipeline a step is, and when."""

    id: str
    project: str
    now: datetime
    datasets: str
    """Where datasets are kept."""


def step(state: Pipeline, at: At) -> list[Event]:
    """What is to happen now; empty if nothing is."""
    if state.status is None:
        return []
    for part in _PARTS:
        if found := part(state, at):
            return found
    return []


def acts(state: Pipeline) -> bool:
    """Whether there is something to do now, whatever the time."""
    return bool(step(state, At(state.name, state.project, datetime.min.replace(tzinfo=UTC), "")))


def due(state: Pipeline) -> datetime | None:
    """When there is something to do although nothing happens; None: never."""
    return min(_times(state), default=None)


def _times(state: Pipeline) -> Iterator[datetime]:
    yield from _orders_at(state)
    for time in (waking.due(state), watching.due(state)):
        if time is not None:
            yield time
    for _, run in state.live():
        for id in run.busy:
            if (time := _timeout_at(state, run, id)) is not None:
                yield time
            if (again := run.stages[id].ask_at) is not None:
                yield again
            yield from (time for _, time in _range_timeouts(state, run, id))
    yield from silence.times(state)
    for worker in state.workers.values():
        if worker.stop_by is not None and not worker.released:
            yield worker.stop_by
        if (time := dispatching.idle_until(state, worker)) is not None:
            yield time


def _orders_at(state: Pipeline) -> Iterator[datetime]:
    """When an order can be given, or a worker asked for, that can't be now: of times that pauses end at, the first at
    which there is one. (At others what waits for a worker is still waiting.)"""
    times = {stage.retry_at for _, run in state.live() for id in run.retrying if (stage := run.stages[id]).retry_at}
    if state.worker_retry_at is not None:
        times.add(state.worker_retry_at)
    if not times or not dispatching.dispatched(state, state.name, state.project, max(times), "", limited=False):
        return  # nothing can be given at any of them, as while all workers are busy
    for time in sorted(times):
        if dispatching.dispatched(state, state.name, state.project, time, ""):
            yield time
            return


def _started(state: Pipeline, at: At) -> list[Event]:
    """Queued runs whose turn it is."""
    if state.status not in (PipelineStatus.DRAFT, PipelineStatus.ACTIVE) or state.spec is None:
        return []
    under_way = sum(run.trigger is not RunTrigger.BACKFILL for _, run in state.live())
    room = max(0, state.spec.execution.max_active_runs - under_way)
    if not room and not state.clock.backfills:
        return []
    queued = {id: run for id, run in state.runs.items() if run.status is PipelineStatus.QUEUED}
    if not queued:
        return []
    # A backfill queues no more runs than may be under way.
    found = [id for id, run in queued.items() if run.trigger is RunTrigger.BACKFILL]
    waiting = sorted((run.rank, run.number, id) for id, run in queued.items() if run.trigger is not RunTrigger.BACKFILL)
    found += [id for _, _, id in waiting[:room]]
    return [RunStarted(run_id=id, pipeline_id=at.id) for id in found]


def _decided(state: Pipeline, at: At) -> list[Event]:
    """Stages that are not needed, and those whose condition can be evaluated."""
    found: list[Event] = []
    for run_id, run in state.live():
        if run.status is not PipelineStatus.RUNNING:
            continue
        graph = state.graph(run.version)
        names = {"run_id": run_id, "pipeline_id": at.id}
        for stage_id, why in run.unneeded.items():
            found.append(StageSkipped(**names, stage_id=stage_id, reason=SkipReason.NOT_NEEDED, message=why[:1_000]))
        for stage_id in run.ready:
            spec = graph.stages[stage_id]
            if spec.condition and not run.stages[stage_id].admitted:
                found.append(_condition(state, run, {**names, "stage_id": stage_id}, spec.condition, at.now))
    return found


def _condition(state: Pipeline, run: Run, names: dict[str, Any], text: str, now: datetime) -> Event:
    stages = {id: _known(run.stages.get(id)) for id in state.graph(run.version).needs[names["stage_id"]]}
    values = parameters.typed(state.spec_of(run).parameters, run.parameters)
    of_run = run_value(run.number, run.trigger.value, run.interval_start, run.interval_end)
    try:
        if holds(text, stages, values, of_run):
            return ConditionHeld(**names)
    except ConditionError as error:
        problem = f"its condition can't be evaluated: {error}"
        remedy = "mend the condition, and retry the run"
        failure = StageFailure(kind=FailureKind.CONDITION, field="condition", problem=problem, remedy=remedy)
        return failed(state, run, names, failure, now, retried=False)
    return StageSkipped(**names, reason=SkipReason.CONDITION, message=f"{text[:900]} is false")


def _known(stage: Stage | None) -> dict[str, Any]:
    """A stage as conditions know it."""
    if stage is None:
        return stage_value(StageStatus.PENDING.value)
    outputs = stage.outputs
    value = _value(outputs[0].value) if len(outputs) == 1 and outputs[0].value else None
    return stage_value(
        stage.status.value,
        attempt=stage.attempt,
        rows=sum(output.rows for output in outputs),
        value=value,
        metrics=stage.metrics.model_dump(),
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _ended(state: Pipeline, at: At) -> list[Event]:
    """Runs whose stages have all ended, and those that a failure ends."""
    found: list[Event] = []
    for run_id, run in state.live():
        names = {"run_id": run_id, "pipeline_id": at.id}
        if run.stopping is not None:
            if not run.busy and not run.retrying:
                cancelled = run.stopping is StopReason.CANCELLED
                found.append(RunCancelled(**names, reason=run.stop_reason) if cancelled else _failed(run, names))
            continue
        fast = bool(run.failed) and state.spec_of(run).execution.fail_fast
        if run.open and not fast:
            continue
        if not run.failed:
            found.append(RunCompleted(**names))
            continue
        publishes = fast and is_publishing(run)
        if publishes:
            found.append(RunStopping(**names, cause=StopReason.FAIL_FAST))
        if fast:
            found += stopped(run, run_id, at.id, StopReason.FAIL_FAST, SkipReason.FAIL_FAST)
        if not publishes:
            found.append(_failed(run, names))
    return found


def _failed(run: Run, names: dict[str, Any]) -> RunFailed:
    more = f" and {len(run.failed) - 1} more" if len(run.failed) > 1 else ""
    return RunFailed(**names, reason=f"stage {run.failed[0]}{more} failed")


def _tasks(state: Pipeline, at: At) -> list[Event]:
    """Stages all tasks of which have ended."""
    found: list[Event] = []
    for run_id, run in state.live():
        for stage_id in [*run.busy, *run.ready]:
            stage = run.stages[stage_id]
            tasks = stage.tasks
            if tasks is None or tasks.waiting or tasks.running:
                continue
            names = {"run_id": run_id, "pipeline_id": at.id, "stage_id": stage_id}
            if not tasks.failed:
                found.append(StageCompleted(**names, attempt=max(1, stage.attempt), metrics=stage.metrics))
                continue
            count = len(tasks.failed)
            which = f"task {min(tasks.failed)}" if count == 1 else f"{count} of {tasks.count} tasks"
            cause = tasks.failure or StageFailure(kind=FailureKind.ERROR, problem="it said nothing")
            failure = cause.model_copy(update={"problem": f"{which} failed: {cause.problem}"[:4_000]})
            found.append(failed(state, run, names, failure, at.now))
    return found


def _timeout_at(state: Pipeline, run: Run, stage_id: str) -> datetime | None:
    """When an attempt has taken too long, or has not begun for too long."""
    stage = run.stages[stage_id]
    if not stage.worker or stage.dispatched_at is None:
        return None
    limit = state.graph(run.version).stages[stage_id].timeout_seconds
    if stage.dataset_version:
        return stage.dispatched_at + timedelta(seconds=max(limit or PUBLISH_SECONDS, LEAST_PUBLISH_SECONDS))
    if stage.started_at is not None:
        return None if limit is None else stage.started_at + timedelta(seconds=limit)
    worker = state.workers.get(stage.worker)
    return None if worker is None or worker.is_job else stage.dispatched_at + timedelta(seconds=START_SECONDS)


def _range_timeouts(state: Pipeline, run: Run, stage_id: str) -> Iterator[tuple[int, datetime]]:
    """The first tasks of ranges, and when each has taken too long, or has not been begun for too long."""
    tasks = run.stages[stage_id].tasks
    if tasks is None:
        return
    limit = state.graph(run.version).stages[stage_id].timeout_seconds
    for first, each in tasks.running.items():
        if each.worker not in tasks.begun:
            yield first, each.since + timedelta(seconds=START_SECONDS)
        elif limit is not None:
            yield first, each.since + timedelta(seconds=limit + RANGE_GRACE_SECONDS)


def _late_ranges(state: Pipeline, run: Run, names: dict[str, Any], now: datetime) -> Iterator[Event]:
    """Ranges that have taken too long: their tasks have failed, but for those that no worker has begun. What the worker
    has besides goes to another one."""
    stage, said = run.stages[names["stage_id"]], set[str]()
    assert stage.tasks is not None, "it has ranges"
    for first in [first for first, time in _range_timeouts(state, run, names["stage_id"]) if time <= now]:
        late = stage.tasks.running[first]
        if late.worker in said:
            continue
        said.add(late.worker)
        about = {**names, "attempt": stage.attempt, "worker": late.worker}
        if late.worker in stage.tasks.begun:
            limit = state.graph(run.version).stages[names["stage_id"]].timeout_seconds
            problem = f"its range of tasks took longer than {limit:g} seconds"
            failure = StageFailure(kind=FailureKind.TIMEOUT, field="timeout_seconds", problem=problem)
            failed_tasks = tuple(range(first, late.last + 1))
            yield TasksEnded(**about, first_task=first, last_task=late.last, failed_tasks=failed_tasks, failure=failure)
        yield StageStopRequested(**about, reason=StopReason.TIMEOUT)


def _late(state: Pipeline, at: At) -> list[Event]:
    """Attempts that have taken too long, and workers that do not answer."""
    found: list[Event] = []
    for run_id, run in state.live():
        for stage_id in run.busy:
            stage = run.stages[stage_id]
            names = {"run_id": run_id, "pipeline_id": at.id, "stage_id": stage_id}
            if stage.tasks is not None:
                found += _late_ranges(state, run, names, at.now)
            time = _timeout_at(state, run, stage_id)
            if time is None or time > at.now:
                continue
            begun = stage.started_at is not None
            took = f"{(time - (stage.started_at or time)).total_seconds():g} seconds"
            problem = f"it took longer than {took}" if begun else "its worker has not begun with it"
            if stage.dataset_version:
                problem = "its worker has not published its output in time"
            failure = StageFailure(kind=FailureKind.TIMEOUT if begun else FailureKind.LOST, problem=problem)
            stop = {"attempt": stage.attempt, "worker": stage.worker, "reason": StopReason.TIMEOUT}
            found += [
                StageStopRequested(**names, **stop),
                failed(state, run, names, failure, at.now, worker=stage.worker),
            ]
    for worker_id, worker in state.workers.items():
        silent = worker.stop_by is not None and worker.stop_by <= at.now
        of_job = worker.stopping is not None and worker.is_job
        if (silent or of_job) and not worker.released:
            reason = "its stage is to be stopped" if of_job else "it has not stopped what it was to stop"
            found.append(WorkerReleased(pipeline_id=at.id, worker=worker_id, reason=reason))
    return found


def _silent(state: Pipeline, at: At) -> list[Event]:
    return silence.noticed(state, at.id, at.now)


def _asked_again(state: Pipeline, at: At) -> list[Event]:
    return commits.asked_again(state, at.id, at.now)


def _of_time(state: Pipeline, at: At) -> list[Event]:
    return waking.woken(state, at.id, at.now)


def _backfilled(state: Pipeline, at: At) -> list[Event]:
    return waking.backfilled(state, at.id)


def _watched(state: Pipeline, at: At) -> list[Event]:
    return [*watching.held(state, at.id), *watching.watched(state, at.id, at.project, at.now, at.datasets)]


def _triggered(state: Pipeline, at: At) -> list[Event]:
    return firing.fired(state, at.id)


def _planned(state: Pipeline, at: At) -> list[Event]:
    return dispatching.planned(state, at.id, at.now)


def _dispatched(state: Pipeline, at: At) -> list[Event]:
    """Not more at a time than a batch of the log has room for."""
    found, size = dispatching.dispatched(state, at.id, at.project, at.now, at.datasets), 0
    for number, event in enumerate(found if len(found) > 1 else ()):
        size += len(event.to_json())
        if number and size > MOST_BYTES_AT_ONCE:
            return found[:number]
    return found


def _idle(state: Pipeline, at: At) -> list[Event]:
    return dispatching.idle(state, at.id, at.now)


_PARTS: tuple[Callable[[Pipeline, At], list[Event]], ...] = (
    _late,
    _silent,
    _decided,
    _tasks,
    _ended,
    _asked_again,
    _of_time,
    _backfilled,
    _watched,
    _triggered,
    _started,
    _planned,
    _dispatched,
    _idle,
)
