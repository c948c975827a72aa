"""How events of stages change their run, and the workers that have them."""

from __future__ import annotations

from datetime import datetime, timedelta

from events.language.moves import check_move
from events.language.pipelines.enums import SkipReason, StagePhase, StageStatus, StopReason
from events.language.pipelines.moves import STAGE_MOVES
from events.language.pipelines.run_events import (
    AttemptEvent,
    CommitPostponed,
    CommitRequested,
    CommitWithdrawn,
    ConditionHeld,
    FanOutPlanned,
    StageCommitted,
    StageCompleted,
    StageDispatched,
    StageEvent,
    StageFailed,
    StageProgressed,
    StagePublished,
    StageResolved,
    StageRetrying,
    StageSkipped,
    StageStarted,
    StageStopped,
    StageStopRequested,
    TasksEnded,
)
from events.language.pipelines.work import FailureKind
from services.pipelines.pipeline.readiness import consider
from services.pipelines.pipeline.state import (
    KEPT_RESULTS,
    Assigned,
    Pipeline,
    Range,
    Result,
    Run,
    Stage,
    Tasks,
    Worker,
)

STOP_SECONDS = 30.0
"""Time that a worker has to say that it has stopped an attempt."""

_HARMLESS = frozenset({SkipReason.CONDITION, SkipReason.FAILURE})
"""Reasons for which a stage is skipped without being an obstacle to others."""


def evolve(state: Pipeline, event: StageEvent, time: datetime) -> None:
    if isinstance(event, StageStopped):
        _stopped(state, event, time)
        return
    run = state.runs[event.run_id]
    stage = run.stages.setdefault(event.stage_id, Stage())
    match event:
        case ConditionHeld():
            stage.admitted = True
        case StageDispatched():
            _dispatched(state, run, stage, event, time)
        case StageStarted():
            stage.started_at = stage.started_at or time
            if stage.tasks is not None:
                stage.tasks.begun.add(event.worker)
                _begin_turn(state, stage.tasks, event, time)
        case StageProgressed():
            stage.progressed_at, stage.metrics = time, event.metrics
        case StageSkipped():
            stage.excused = stage.excused or event.reason in _HARMLESS
            stage.kept_skip = event.reason in _HARMLESS
            _end(state, run, event, StageStatus.SKIPPED, time)
        case AttemptEvent():
            _attempt(state, run, stage, event, time)


def _attempt(state: Pipeline, run: Run, stage: Stage, event: AttemptEvent, time: datetime) -> None:
    match event:
        case StageResolved():
            stage.resolved, stage.cache_key = True, event.cache_key
            _free(state, event, time)
        case FanOutPlanned():
            waiting = [[0, event.count - 1]] if event.count else []
            stage.tasks = Tasks(event.count, event.items, waiting)
            _free(state, event, time)
        case TasksEnded():
            _tasks_ended(stage, event)
            _free(state, event, time, event.first_task)
            if stage.tasks is not None:
                _begin_turn(state, stage.tasks, event, time)
        case CommitRequested():
            stage.commit, stage.metrics, stage.streams = event.commit, event.metrics, event.streams
            stage.ask_at = None
            _free(state, event, time)
        case CommitPostponed():
            stage.ask_at, stage.postponed = event.ask_at, stage.postponed + 1
        case CommitWithdrawn():
            stage.commit, stage.dataset_version = None, 0
        case StageCommitted():
            stage.dataset_version, stage.postponed = event.dataset_version, 0
        case StagePublished():
            stage.published = True
            _free(state, event, time)
        case StageCompleted():
            stage.metrics = event.metrics
            stage.outputs = [output for _, output in stage.tasks.outputs] if stage.tasks else [event.output]
            if event.cache_key:
                _keep(state, event, stage)
            _end(state, run, event, StageStatus.COMPLETED, time)
        case StageRetrying():
            _retrying(state, run, stage, event, time)
        case StageFailed():
            stage.metrics = event.metrics
            run.failed.append(event.stage_id)
            if event.failure.kind is FailureKind.COMMIT:
                # It is abandoned: a retry makes another one.
                stage.dataset_version, stage.published, stage.publishing = 0, False, False
            _end(state, run, event, StageStatus.FAILED, time)
        case StageStopRequested():
            _stop(state, stage, event, time)


def _dispatched(state: Pipeline, run: Run, stage: Stage, event: StageDispatched, time: datetime) -> None:
    id = event.stage_id
    if stage.status is not StageStatus.RUNNING:
        _move(stage, StageStatus.RUNNING, event)
        run.busy.append(id)
        for waiting in (run.ready, run.retrying):
            if id in waiting:
                waiting.remove(id)
        stage.retry_at = stage.progressed_at = None
    if event.attempt != stage.attempt:
        stage.started_at, stage.ask_at, stage.postponed = None, None, 0
    stage.attempt, stage.dispatched_at = event.attempt, time
    stage.publishing = event.phase is StagePhase.PUBLISH
    if event.job is not None:
        state.workers[event.worker] = Worker(0, run.version, time, event.run_id, id, ready=True, is_job=True)
    worker = state.workers[event.worker]
    worker.assigned.append(Assigned(event.run_id, id, event.attempt, event.first_task))
    worker.idle_since = None
    if event.first_task is None:
        stage.worker = event.worker
        return
    assert stage.tasks is not None, "tasks are planned before they are dispatched"
    assert event.last_task is not None, "a range has an end"
    first, last = event.first_task, event.last_task
    stage.tasks.running[first] = Range(last, event.worker, time)
    for at, (begin, end) in enumerate(stage.tasks.waiting):
        if begin == first:
            stage.tasks.waiting[at : at + 1] = [[last + 1, end]] if last < end else []
            break


def _tasks_ended(stage: Stage, event: TasksEnded) -> None:
    tasks = stage.tasks
    assert tasks is not None, "tasks are planned before they end"
    tasks.running.pop(event.first_task, None)
    tasks.failed += event.failed_tasks
    tasks.failure = tasks.failure or event.failure
    if event.output is not None:
        tasks.outputs.append((event.first_task, event.output))
        tasks.outputs.sort(key=lambda each: each[0])
    count = event.last_task - event.first_task + 1
    tasks.task_seconds = event.metrics.seconds / count


def _begin_turn(state: Pipeline, tasks: Tasks, event: AttemptEvent, time: datetime) -> None:
    """It is the turn of the ranges that the worker has."""
    worker = state.workers.get(event.worker)
    for each in worker.assigned if worker is not None else ():
        if each.first_task is not None and (each.run_id, each.stage_id) == (event.run_id, event.stage_id):
            tasks.running[each.first_task].since = time


def _retrying(state: Pipeline, run: Run, stage: Stage, event: StageRetrying, time: datetime) -> None:
    _free(state, event, time)
    _move(stage, StageStatus.RETRYING, event)
    run.busy.remove(event.stage_id)
    run.retrying.append(event.stage_id)
    stage.retry_at, stage.metrics = event.retry_at, event.metrics
    if event.counted:
        stage.retries += 1
    else:
        stage.losses += 1
    if stage.tasks is not None:
        stage.tasks.waiting += _ranges(sorted(stage.tasks.failed))
        stage.tasks.failed.clear()
        stage.tasks.failure = None


def _ranges(numbers: list[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def _end(state: Pipeline, run: Run, event: StageEvent, status: StageStatus, time: datetime) -> None:
    id = event.stage_id
    stage = run.stages[id]
    _move(stage, status, event)
    for waiting in (run.ready, run.busy, run.retrying):
        if id in waiting:
            waiting.remove(id)
    run.unneeded.pop(id, None)
    run.open -= 1
    if stage.worker:
        _free_from(state, stage.worker, event.run_id, id, time)
    stage.worker = ""
    if status is StageStatus.COMPLETED or not stage.dataset_version:
        stage.commit = None  # else a retry of the run has to publish what is committed
    if stage.tasks is not None:
        for each in stage.tasks.running.values():
            _free_from(state, each.worker, event.run_id, id, time)
        stage.tasks = None
    if run.stopping is None:
        consider(state, run, state.graph(run.version).followers[id])


def _keep(state: Pipeline, event: StageCompleted, stage: Stage) -> None:
    state.results[event.cache_key] = Result(event.cached_from or event.run_id, list(stage.outputs))
    while len(state.results) > KEPT_RESULTS:
        del state.results[next(iter(state.results))]


def _stop(state: Pipeline, stage: Stage, event: StageStopRequested, time: datetime) -> None:
    worker = state.workers.get(event.worker)
    if stage.worker == event.worker:
        stage.worker = ""
    if stage.tasks is not None and _give_back(stage.tasks, event.worker):
        stage.losses += event.reason is StopReason.SILENT
    if worker is None:
        return
    mine = (event.run_id, event.stage_id)
    worker.assigned = [each for each in worker.assigned if (each.run_id, each.stage_id) != mine]
    worker.stopping = Assigned(event.run_id, event.stage_id, event.attempt)
    worker.stop_by = time + timedelta(seconds=STOP_SECONDS)


def _stopped(state: Pipeline, event: StageStopped, time: datetime) -> None:
    worker = state.workers.get(event.worker)
    if worker is not None:
        worker.stopping = worker.stop_by = None
        if not worker.assigned:
            worker.idle_since = time


def _free(state: Pipeline, event: AttemptEvent, time: datetime, first: int | None = None) -> None:
    """The worker does not work on what the event is about any more."""
    if event.worker:
        _free_from(state, event.worker, event.run_id, event.stage_id, time, first)
    stage = state.runs[event.run_id].stages[event.stage_id]
    if stage.worker == event.worker:
        stage.worker = ""


def _free_from(
    state: Pipeline, worker_id: str, run_id: str, stage_id: str, time: datetime, first: int | None = None
) -> None:
    worker = state.workers.get(worker_id)
    if worker is None:
        return
    gone = (run_id, stage_id)
    worker.assigned = [
        each
        for each in worker.assigned
        if (each.run_id, each.stage_id) != gone or (first is not None and each.first_task != first)
    ]
    if not worker.assigned:
        worker.idle_since = time


def lost(state: Pipeline, worker_id: str) -> None:
    """A worker is gone: its tasks wait for another one. What becomes of its attempts is said by other events."""
    for run in state.runs.values():
        for id in run.busy:
            stage = run.stages[id]
            if stage.worker == worker_id:
                stage.worker = ""
            if stage.tasks is not None:
                stage.losses += _give_back(stage.tasks, worker_id)


def _give_back(tasks: Tasks, worker_id: str) -> bool:
    """The ranges of a worker wait for another one; whether it had any."""
    theirs = [(first, each.last) for first, each in tasks.running.items() if each.worker == worker_id]
    for first, last in theirs:
        del tasks.running[first]
        tasks.waiting.append([first, last])
    tasks.begun.discard(worker_id)
    return bool(theirs)


def _move(stage: Stage, status: StageStatus, event: StageEvent) -> None:
    check_move(STAGE_MOVES, stage.status, status, f"stage {event.stage_id} of run {event.run_id}")
    stage.status = status
