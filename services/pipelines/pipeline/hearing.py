"""What the events of jobs mean for workers and their stages, and what those of datasets mean for stages. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from events.language.base import Event
from events.language.common import CommandRejected
from events.language.jobs import ExitReason, JobEnded, JobExited, JobStarted, SubmitJob, TaskExit
from events.language.pipelines.enums import StageStatus, StopReason
from events.language.pipelines.run_events import (
    StageCompleted,
    StageStarted,
    StageStopRequested,
    WorkerGone,
    WorkerStarted,
)
from events.language.pipelines.work import FailureKind, StageFailure, StageMetrics
from services.pipelines.pipeline import dispatching
from services.pipelines.pipeline.failures import MOST_LOSSES, failed
from services.pipelines.pipeline.state import Assigned, Pipeline, Stage, Worker

MOST_FAILURES = 3
"""Workers in a row that end before they are ready, after which the stages that wait for one fail."""

_LOST = frozenset({ExitReason.LOST, ExitReason.STOPPED, ExitReason.UNTRACKED})


def heard(state: Pipeline, id: str, event: Event, now: datetime) -> Iterator[Event]:
    """What an event of a job means, if it is one of this pipeline's."""
    worker_id = event.subject()
    worker = state.workers.get(worker_id)
    if worker is None:
        return
    match event:
        case JobStarted():
            if worker.is_job:
                yield from _began(state, id, worker_id, worker)
            elif not worker.ready and worker.started_at is None:
                yield WorkerStarted(pipeline_id=id, worker=worker_id)
        case JobExited():
            if event.tasks:
                yield from _exited(state, id, worker_id, worker, event.tasks[-1], now)
        case JobEnded():
            yield from gone(state, id, worker_id, worker, event.reason or "its job has ended", FailureKind.LOST, now)


def refused(state: Pipeline, id: str, refusal: CommandRejected, now: datetime) -> Iterator[Event]:
    """An order of a job was refused: it was not taken, or could not be cancelled, since it had ended."""
    worker = state.workers.get(refusal.subject_id)
    if worker is None:
        return
    if refusal.command_type != SubmitJob.type_name():
        yield from gone(state, id, refusal.subject_id, worker, "its job had ended", FailureKind.LOST, now)
        return
    reason = f"its job was refused: {refusal.message}"
    yield from gone(state, id, refusal.subject_id, worker, reason, FailureKind.REFUSED, now)


def _began(state: Pipeline, id: str, worker_id: str, worker: Worker) -> Iterator[Event]:
    for each in worker.assigned:
        stage = state.runs[each.run_id].stages[each.stage_id]
        if stage.started_at is None:
            yield StageStarted(**_names(id, each), attempt=each.attempt, worker=worker_id)


def _exited(state: Pipeline, id: str, worker_id: str, worker: Worker, exit: TaskExit, now: datetime) -> Iterator[Event]:
    if worker.is_job and exit.reason is ExitReason.EXITED and exit.exit_code == 0:
        metrics = StageMetrics(
            seconds=_seconds(state, worker, now),
            cpu_seconds=exit.usage.cpu_seconds,
            peak_memory_bytes=exit.usage.max_rss_bytes,
        )
        yield WorkerGone(pipeline_id=id, worker=worker_id, reason="its job has completed")
        for each in worker.assigned:
            about = {**_names(id, each), "attempt": each.attempt, "worker": worker_id}
            yield StageCompleted(**about, metrics=metrics)
        return
    kind = FailureKind.LOST
    if exit.reason is ExitReason.OUT_OF_MEMORY:
        kind = FailureKind.MEMORY
    elif exit.reason is ExitReason.TIMEOUT:
        kind = FailureKind.TIMEOUT
    elif worker.is_job and exit.reason not in _LOST:
        kind = FailureKind.ERROR
    yield from gone(state, id, worker_id, worker, _reason(exit, worker_id), kind, now)


def _seconds(state: Pipeline, worker: Worker, now: datetime) -> float:
    for each in worker.assigned:
        started = state.runs[each.run_id].stages[each.stage_id].started_at
        if started is not None:
            return max(0.0, (now - started).total_seconds())
    return 0.0


def gone(
    state: Pipeline, id: str, worker_id: str, worker: Worker, reason: str, kind: FailureKind, now: datetime
) -> Iterator[Event]:
    """A worker is no more; its attempts have failed, and those that wait for workers which never get ready too."""
    yield WorkerGone(pipeline_id=id, worker=worker_id, reason=reason[:1_000])
    if worker.watches:
        return
    reason = worker.hung or reason
    failure = StageFailure(kind=kind, problem=reason[:4_000])
    said: set[tuple[str, str]] = set()
    for each in worker.assigned:
        run = state.runs[each.run_id]
        stage = run.stages[each.stage_id]
        names = _names(id, each)
        if (each.run_id, each.stage_id) in said or stage.dataset_version:
            continue
        if stage.tasks is not None and stage.losses + 1 < MOST_LOSSES:
            continue
        said.add((each.run_id, each.stage_id))
        for other in _others_with(stage, worker_id):
            about = {"attempt": stage.attempt, "worker": other, "reason": StopReason.FAIL_FAST}
            yield StageStopRequested(**names, **about)
        yield failed(state, run, names, failure, now, worker=worker_id, retried=stage.tasks is None)
    if worker.ready or worker.is_job or (worker.released and not worker.hung):
        return
    if kind is not FailureKind.REFUSED and state.worker_failures + 1 < MOST_FAILURES:
        return
    hopeless = failure.model_copy(
        update={"kind": FailureKind.REFUSED, "problem": f"its worker did not start: {reason}"[:4_000]}
    )
    for run_id, run in state.live():
        amid = [id for id in run.busy if dispatching.waits_for_worker(run.stages[id])]
        for stage_id in [*run.ready, *run.retrying, *amid]:
            if worker.stage_id and (worker.run_id, worker.stage_id) != (run_id, stage_id):
                continue
            if state.graph(run.version).stages[stage_id].job is None and (run_id, stage_id) not in said:
                names = {"run_id": run_id, "pipeline_id": id, "stage_id": stage_id}
                yield failed(state, run, names, hopeless, now, retried=False)


def _others_with(stage: Stage, worker_id: str) -> list[str]:
    """The other workers that have tasks of a stage."""
    tasks = stage.tasks.running.values() if stage.tasks is not None else ()
    return list(dict.fromkeys(each.worker for each in tasks if each.worker != worker_id))


def _names(id: str, each: Assigned) -> dict[str, Any]:
    return {"run_id": each.run_id, "pipeline_id": id, "stage_id": each.stage_id}


def _reason(exit: TaskExit, job: str) -> str:
    """How a process ended, in words. Of one that ended by itself its output knows more."""
    if exit.reason is ExitReason.EXITED:
        end = f"signal {exit.signal}" if exit.signal else f"exit code {exit.exit_code}"
        return f"its process ended with {end}; 'forgelog logs {job}' shows its output"
    words = exit.reason.value.replace("_", " ")
    return f"{words}: {exit.message}" if exit.message else words


def is_running(state: Pipeline, run_id: str, stage_id: str, attempt: int) -> bool:
    """Whether an attempt is the one that its stage is at."""
    run = state.runs.get(run_id)
    stage = run.stages.get(stage_id) if run is not None else None
    return stage is not None and stage.status is StageStatus.RUNNING and stage.attempt == attempt
