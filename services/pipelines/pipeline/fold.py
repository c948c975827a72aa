"""How its events change a pipeline."""

from __future__ import annotations

from datetime import datetime, timedelta

from events.language.base import Event
from events.language.moves import check_move
from events.language.pipelines.enums import PipelineStatus, StageStatus
from events.language.pipelines.events import (
    PipelineActivated,
    PipelineDefined,
    PipelinePaused,
    PipelineResumed,
    PipelineRetired,
)
from events.language.pipelines.moves import PIPELINE_MOVES, RUN_MOVES
from events.language.pipelines.run_events import (
    RunCancelled,
    RunCompleted,
    RunEnded,
    RunEvent,
    RunFailed,
    RunPaused,
    RunQueued,
    RunResumed,
    RunRetried,
    RunStarted,
    RunStopping,
    StageEvent,
    WorkerEvent,
    WorkerGone,
    WorkerReady,
    WorkerReleased,
    WorkerRequested,
    WorkerStarted,
)
from events.language.pipelines.watch_messages import TriggerWatched
from services.pipelines.clock import fold as clock
from services.pipelines.pipeline import stage_fold
from services.pipelines.pipeline.readiness import consider
from services.pipelines.pipeline.state import ENDED, KEPT_FAILED, KEPT_VERSIONS, Pipeline, Run, Worker
from services.pipelines.triggers import fold as triggers

_STATUS = {
    PipelineActivated: PipelineStatus.ACTIVE,
    PipelinePaused: PipelineStatus.PAUSED,
    PipelineResumed: PipelineStatus.ACTIVE,
    PipelineRetired: PipelineStatus.CANCELLED,
}
_RUN_STATUS = {
    RunStarted: PipelineStatus.RUNNING,
    RunPaused: PipelineStatus.PAUSED,
    RunResumed: PipelineStatus.RUNNING,
    RunRetried: PipelineStatus.RUNNING,
    RunCompleted: PipelineStatus.COMPLETED,
    RunFailed: PipelineStatus.FAILED,
    RunCancelled: PipelineStatus.CANCELLED,
}
_MOST_WORKER_PAUSE = 60.0
"""Seconds before a worker is asked for in place of one that did not get ready, at most."""


def evolve(state: Pipeline, event: Event, time: datetime) -> Pipeline:
    """The state after an event; it is changed in place, but for a pipeline that begins anew."""
    clock.evolve(state.clock, event, time, state.spec)
    listens = state.status in (PipelineStatus.ACTIVE, PipelineStatus.PAUSED)
    triggers.evolve(state.triggers, event, time, state.spec, state.project, listens=listens)
    match event:
        case PipelineDefined():
            return _defined(state, event)
        case PipelineActivated() | PipelinePaused() | PipelineResumed() | PipelineRetired():
            _move(state, _STATUS[type(event)], event.pipeline_id)
        case WorkerEvent():
            _worker(state, event, time)
        case TriggerWatched():
            state.workers[event.worker].watching.append(event.trigger)
        case RunQueued():
            state.runs[event.run_id] = _queued(event, time)
            state.runs[event.run_id].datasets = state.triggers.taken.pop(event.run_id, {})
            state.last_run = event.number
        case StageEvent():
            stage_fold.evolve(state, event, time)
        case RunStopping():
            _stopping(state.runs[event.run_id], event)
        case RunEvent():
            _run(state, event, time)
    return state


def _defined(state: Pipeline, event: PipelineDefined) -> Pipeline:
    if state.status in (None, PipelineStatus.CANCELLED):
        kept = (state.last_run, state.workers, state.last_worker, state.specs)
        last_backfill, ending = state.clock.last_backfill, dict(state.live())
        state = Pipeline(PipelineStatus.DRAFT, event.name, event.project)
        state.runs = ending
        state.last_run, state.workers, state.last_worker, state.specs = kept
        state.clock.last_backfill = last_backfill
    state.version, state.spec, state.parent = event.pipeline_version, event.spec, event.parent
    state.template = event.template
    state.specs[state.version] = event.spec
    _forget_versions(state)
    return state


def _move(state: Pipeline, status: PipelineStatus, id: str) -> None:
    assert state.status is not None, "the decider lets nothing come before the definition"
    check_move(PIPELINE_MOVES, state.status, status, f"pipeline {id}")
    state.status = status


def _forget_versions(state: Pipeline) -> None:
    """Keep the specs of the newest versions, and of those that runs and workers have."""
    used = {run.version for run in state.runs.values()} | {worker.version for worker in state.workers.values()}
    for version in sorted(state.specs)[:-KEPT_VERSIONS]:
        if version not in used:
            del state.specs[version]
            state.graphs.pop(version, None)


def _queued(event: RunQueued, time: datetime) -> Run:
    return Run(
        number=event.number,
        version=event.pipeline_version,
        trigger=event.trigger,
        queued_at=time,
        trigger_id=event.trigger_id,
        parameters=dict(event.parameters),
        interval_start=event.interval_start,
        interval_end=event.interval_end,
        rank=event.rank,
        debug=event.debug,
        topics=event.topics,
        files=event.files,
    )


def _run(state: Pipeline, event: RunEvent, time: datetime) -> None:
    run = state.runs[event.run_id]
    status = _RUN_STATUS[type(event)]
    check_move(RUN_MOVES, run.status, status, f"run {event.run_id}")
    state.move(event.run_id, run, status)
    match event:
        case RunStarted():
            run.started_at = time
            run.open = len(state.graph(run.version).stages)
            consider(state, run, list(state.graph(run.version).stages))
        case RunRetried():
            _retried(state, run, time)
        case RunEnded():
            _ended(state, event, run)


def _stopping(run: Run, event: RunStopping) -> None:
    run.stopping, run.stop_reason = event.cause, event.reason
    run.ready.clear()
    run.unneeded.clear()


def _retried(state: Pipeline, run: Run, time: datetime) -> None:
    for id, stage in list(run.stages.items()):
        publishes = stage.status is StageStatus.SKIPPED and stage.dataset_version and not stage.kept_skip
        if stage.status is StageStatus.FAILED or publishes:
            stage.status, stage.retry_at, stage.retries, stage.losses = StageStatus.RETRYING, time, 0, 0
            stage.published = False
            run.retrying.append(id)
        elif stage.status is StageStatus.SKIPPED and not stage.kept_skip:
            run.attempts[id] = stage.attempt
            del run.stages[id]
    run.failed.clear()
    graph = state.graph(run.version)
    ended = {id for id, stage in run.stages.items() if stage.status in ENDED}
    run.open = len(graph.stages) - len(ended)
    consider(state, run, [id for id in graph.stages if id not in run.stages])


def _ended(state: Pipeline, event: RunEnded, run: Run) -> None:
    run.ready.clear()
    run.unneeded.clear()
    run.busy.clear()
    run.retrying.clear()
    run.stopping = None
    if isinstance(event, RunFailed):
        run.stages = {id: stage for id, stage in run.stages.items() if stage.status in ENDED}
        failed = [id for id, each in state.runs.items() if each.status is PipelineStatus.FAILED]
        for id in failed[:-KEPT_FAILED]:
            if not state.triggers.holds(id):
                del state.runs[id]
    else:
        del state.runs[event.run_id]
    _forget_versions(state)


def _worker(state: Pipeline, event: WorkerEvent, time: datetime) -> None:
    match event:
        case WorkerRequested():
            state.workers[event.worker] = Worker(
                event.number, event.pipeline_version, time, event.run_id, event.stage_id, watches=event.watches
            )
            state.last_worker = event.number
            if event.watches:
                state.triggers.watch_at = None
            else:
                state.worker_retry_at = None
        case WorkerStarted():
            state.workers[event.worker].started_at = time
        case WorkerReady():
            worker = state.workers[event.worker]
            worker.ready, worker.idle_since = True, time
            if worker.watches:
                state.triggers.lost = 0
            else:
                state.worker_failures, state.worker_retry_at = 0, None
        case WorkerReleased():
            worker = state.workers[event.worker]
            worker.released, worker.hung = True, event.reason if event.hung else ""
        case WorkerGone():
            worker = state.workers.pop(event.worker)
            if worker.watches:
                _watcher_gone(state, worker, time)
            elif not worker.ready and not worker.is_job and (worker.hung or not worker.released):
                state.worker_failures += 1
                state.worker_retry_at = time + _pause(state.worker_failures)
            stage_fold.lost(state, event.worker)
            _forget_versions(state)


def _watcher_gone(state: Pipeline, worker: Worker, time: datetime) -> None:
    """The next watcher is asked for after a pause, unless there is to be none."""
    if worker.hung or not worker.released:
        state.triggers.lost += 1
        state.triggers.watch_at = time + _pause(state.triggers.lost)


def _pause(failures: int) -> timedelta:
    return timedelta(seconds=min(_MOST_WORKER_PAUSE, 2.0 ** min(failures - 1, 10)))
