"""Workers that have fallen silent amid their work, or before they were ready: hung, stopped, or cut off. Pure.

A worker says every few seconds that it is at work (`ReportStageProgress`), whatever the user's code does: that runs in
another process. One that says nothing for `execution.silence_seconds` is told to stop, and is released if it does not
answer. What it had goes to another worker at once. Should it wake later, its reports are about an attempt that is over.

One whose process has started is ready within that time, or within `START_SECONDS` if these are more: else it is
released, which counts as a start that failed, and another one is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from events.language.base import Event
from events.language.pipelines.enums import StopReason
from events.language.pipelines.run_events import StageStopRequested, WorkerReleased
from events.language.pipelines.work import FailureKind, StageFailure
from services.pipelines.pipeline.failures import MOST_LOSSES, failed
from services.pipelines.pipeline.state import Assigned, Pipeline, Run, Worker

START_SECONDS = 120.0
"""Within which a worker may get ready in any case: its code is fetched, and its libraries are loaded."""


def times(state: Pipeline) -> Iterator[datetime]:
    """When workers have been silent for too long, unless they are heard before."""
    for worker in state.workers.values():
        for time in (_silent_at(state, worker), _unready_at(state, worker)):
            if time is not None:
                yield time


def noticed(state: Pipeline, id: str, now: datetime) -> list[Event]:
    """What follows from the silence of workers."""
    found: list[Event] = []
    for worker_id, worker in state.workers.items():
        time = _silent_at(state, worker)
        if time is not None and time <= now:
            found += _taken_over(state, id, worker_id, worker, now)
        time = _unready_at(state, worker)
        if time is not None and time <= now:
            reason = (
                f"it was not ready {_start_limit(state, worker):g} seconds after its process had started; "
                f"'forgelog logs {worker_id}' shows its output"
            )
            found.append(WorkerReleased(pipeline_id=id, worker=worker_id, reason=reason, hung=True))
    return found


def _taken_over(state: Pipeline, id: str, worker_id: str, worker: Worker, now: datetime) -> Iterator[Event]:
    said: set[tuple[str, str]] = set()
    for each in worker.assigned:
        if (each.run_id, each.stage_id) in said:
            continue
        said.add((each.run_id, each.stage_id))
        run = state.runs[each.run_id]
        stage, limit = run.stages[each.stage_id], state.spec_of(run).execution.silence_seconds
        names: dict[str, Any] = {"run_id": each.run_id, "pipeline_id": id, "stage_id": each.stage_id}
        about = {**names, "attempt": stage.attempt, "worker": worker_id}
        yield StageStopRequested(**about, reason=StopReason.SILENT)
        if stage.tasks is not None and stage.losses + 1 < MOST_LOSSES:
            continue  # its tasks go to other workers
        problem = f"its worker has said nothing for {limit:g} seconds: it hangs, was stopped, or is cut off"
        remedy = f"'forgelog logs {worker_id}' shows what it said before; execution.silence_seconds is how long it may"
        failure = StageFailure(kind=FailureKind.LOST, field="execution.silence_seconds", problem=problem, remedy=remedy)
        yield failed(state, run, names, failure, now, worker=worker_id, retried=stage.tasks is None)


def _unready_at(state: Pipeline, worker: Worker) -> datetime | None:
    """When a worker that has started is to be ready; None of one that is, or need not be."""
    if worker.ready or worker.released or worker.is_job or worker.started_at is None:
        return None
    since = worker.started_at if worker.heard_at is None else max(worker.started_at, worker.heard_at)
    return since + timedelta(seconds=_start_limit(state, worker))


def _start_limit(state: Pipeline, worker: Worker) -> float:
    return max(START_SECONDS, state.specs[worker.version].execution.silence_seconds)


def _silent_at(state: Pipeline, worker: Worker) -> datetime | None:
    """When a worker has said nothing of its work for too long; None of one that has nothing to say."""
    if worker.is_job or worker.watches or worker.released or worker.stopping is not None:
        return None
    since = [time for each in worker.assigned if (time := _begun_at(state.runs[each.run_id], each)) is not None]
    if not since:
        return None
    limit = min(state.spec_of(state.runs[each.run_id]).execution.silence_seconds for each in worker.assigned)
    if worker.heard_at is not None:
        since.append(worker.heard_at)
    return max(since) + timedelta(seconds=limit)


def _begun_at(run: Run, each: Assigned) -> datetime | None:
    """When a worker has begun with something; None: it has not yet, which is another matter."""
    stage = run.stages[each.stage_id]
    if each.first_task is not None:
        tasks = stage.tasks
        if tasks is None or each.first_task not in tasks.running:
            return None
        found = tasks.running[each.first_task]
        return found.since if found.worker in tasks.begun else None
    if stage.publishing or stage.started_at is not None:
        return stage.dispatched_at
    return None
