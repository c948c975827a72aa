"""The tables of runs, their stages, and workers, and how events change them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from events.language.pipelines.answers import PipelineRun, PipelineWorker, StageRun
from events.language.pipelines.enums import PipelineStatus, StagePhase, StageStatus
from events.language.pipelines.run_events import (
    AttemptEvent,
    CommitPostponed,
    CommitRequested,
    CommitWithdrawn,
    FanOutPlanned,
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
    StageCommitted,
    StageCompleted,
    StageDispatched,
    StageEvent,
    StageFailed,
    StageProgressed,
    StagePublished,
    StageRetrying,
    StageSkipped,
    StageStarted,
    StageStopped,
    StageStopRequested,
    TasksEnded,
    WorkerEvent,
    WorkerGone,
    WorkerReady,
    WorkerReleased,
    WorkerRequested,
    WorkerStarted,
)
from events.language.pipelines.work import StageMetrics
from events.log.envelope import Recorded
from events.process.instants import instant
from events.projections.projection import Key, Row, Rows, Table
from events.projections.row_models import table_of

RUNS = table_of(
    PipelineRun,
    "pipeline_runs",
    key=("run_id",),
    indexes=("pipeline_id, number desc", "queued_at desc, run_id desc", "status, queued_at desc, run_id desc"),
    born="queued_at",
)

STAGES = table_of(StageRun, "stage_runs", key=("run_id", "stage_id"))

WORKERS = table_of(PipelineWorker, "pipeline_workers", key=("worker",), indexes=("pipeline_id, requested_at desc",))

TABLES = (RUNS, STAGES, WORKERS)

_SUMMED = ("rows_read", "rows_written", "bytes_read", "bytes_written", "rejected_rows", "cpu_seconds")
_COUNTED = {
    StageStatus.COMPLETED.value: "completed",
    StageStatus.FAILED.value: "failed",
    StageStatus.SKIPPED.value: "skipped",
    StageStatus.RUNNING.value: "running",
}
_STATUS = {
    RunStarted: PipelineStatus.RUNNING,
    RunPaused: PipelineStatus.PAUSED,
    RunResumed: PipelineStatus.RUNNING,
    RunRetried: PipelineStatus.RUNNING,
    RunCompleted: PipelineStatus.COMPLETED,
    RunFailed: PipelineStatus.FAILED,
    RunCancelled: PipelineStatus.CANCELLED,
}
_MOST_PLACES = 1_000


def touched(event: RunEvent | WorkerEvent) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    if isinstance(event, WorkerEvent):
        yield WORKERS, (event.worker,)
        return
    yield RUNS, (event.run_id,)
    if isinstance(event, StageEvent):
        yield STAGES, (event.run_id, event.stage_id)


def put(recorded: Recorded, event: RunEvent | WorkerEvent, rows: Rows) -> None:
    time = recorded.meta.time
    if isinstance(event, WorkerEvent):
        _worker(recorded, event, rows)
    elif isinstance(event, RunQueued):
        rows.put(RUNS, _queued(recorded, event))
    elif isinstance(event, StageEvent):
        _stage(event, rows, time)
    else:
        found = _found(rows, RUNS, (event.run_id,))
        rows.put(RUNS, {**found, **_run_change(event, time), "updated_at": time})


def _queued(recorded: Recorded, event: RunQueued) -> Row:
    names = {"pipeline_version", "trigger", "trigger_id", "parameters", "debug", "note", "number"}
    return RUNS.first(
        run_id=event.run_id,
        pipeline_id=event.pipeline_id,
        project=recorded.meta.project,
        requester=recorded.meta.actor,
        status=PipelineStatus.QUEUED.value,
        interval_start=event.interval_start,
        interval_end=event.interval_end,
        queued_at=recorded.meta.time,
        updated_at=recorded.meta.time,
        **event.model_dump(mode="json", include=names),
    )


def _run_change(event: RunEvent, time: datetime) -> Row:
    if isinstance(event, RunStopping):
        return {"reason": event.reason or f"it ends: {event.cause.value.replace('_', ' ')}"}
    status = {"status": _STATUS[type(event)].value, "reason": getattr(event, "reason", "")}
    match event:
        case RunStarted():
            return {**status, "started_at": time}
        case RunRetried():
            return {**status, "ended_at": None}
        case RunEnded():
            return {**status, "ended_at": time, "running": 0, "current_stages": []}
    return status


def _stage(event: StageEvent, rows: Rows, time: datetime) -> None:
    run = _found(rows, RUNS, (event.run_id,))
    before = rows.get(STAGES, (event.run_id, event.stage_id))
    known = before or STAGES.first(
        run_id=event.run_id,
        stage_id=event.stage_id,
        pipeline_id=event.pipeline_id,
        project=run["project"],
        status=StageStatus.PENDING.value,
        updated_at=time,
    )
    after = {**known, **_change(event, known, time), "updated_at": time}
    rows.put(STAGES, after)
    change = _counts(run, before, after, event.stage_id)
    if isinstance(event, StageRetrying):
        change["retries"] = run["retries"] + 1
    if (used := _used(event)) is not None:
        change.update(_sums(run, used))
    if isinstance(event, CommitRequested):
        places = [each.dataset_id or each.location for each in event.commit.inputs]
        change["inputs"] = list(dict.fromkeys([*run["inputs"], *places]))[:_MOST_PLACES]
    if isinstance(event, StageCommitted):
        version = f"{event.dataset_id}/{event.dataset_version}"
        change["outputs"] = list(dict.fromkeys([*run["outputs"], version]))[:_MOST_PLACES]
    rows.put(RUNS, {**run, **change, "updated_at": time})


def _counts(run: Any, before: Any, after: Any, stage_id: str) -> Row:
    """How many stages of the run stand how."""
    change: Row = {"stages": run["stages"] + (before is None)}
    old, new = before["status"] if before is not None else "", after["status"]
    if old == new:
        return change
    for status, step in ((old, -1), (new, 1)):
        if name := _COUNTED.get(status):
            change[name] = change.get(name, run[name]) + step
    current = [each for each in run["current_stages"] if each != stage_id]
    change["current_stages"] = [*current, stage_id] if new == StageStatus.RUNNING.value else current
    return change


def _used(event: StageEvent) -> StageMetrics | None:
    """What an attempt, or a range of tasks, has used when it ended."""
    if isinstance(event, TasksEnded | StageRetrying | StageFailed | StageStopped):
        return event.metrics
    if isinstance(event, StageCompleted) and not event.cached_from:
        return event.metrics
    return None


def _sums(run: Any, used: StageMetrics) -> Row:
    sums = {name: run[name] + getattr(used, name) for name in _SUMMED}
    memory = run["memory_byte_seconds"] + used.peak_memory_bytes * used.seconds
    return {**sums, "memory_byte_seconds": memory}


def _change(event: StageEvent, row: Row, time: datetime) -> Row:
    """What an event changes in its stage's row."""
    match event:
        case StageDispatched():
            return _dispatched(event, row, time)
        case StageSkipped():
            failure = None if event.failure is None else event.failure.model_dump(mode="json")
            reason = event.message or event.reason.value.replace("_", " ")
            return {
                "status": StageStatus.SKIPPED.value,
                "reason": reason,
                "failure": failure,
                "ended_at": time,
                "retry_at": None,
            }
        case AttemptEvent():
            return _attempt(event, row, time)
    return {}


def _dispatched(event: StageDispatched, row: Row, time: datetime) -> Row:
    again = {"attempt": event.attempt, "started_at": None, "reason": "", "failure": None, "ended_at": None}
    return {
        **(again if event.attempt != row["attempt"] else {}),
        "status": StageStatus.RUNNING.value,
        "worker": event.worker,
        "phase": event.phase.value,
        "dispatched_at": time,
        "retry_at": None,
    }


def _attempt(event: AttemptEvent, row: Any, time: datetime) -> Row:
    match event:
        case StageStarted():
            return {"started_at": row["started_at"] or time}  # each worker begins with a stage's tasks
        case StageProgressed():
            return {"metrics": _plain(event.metrics)}
        case FanOutPlanned():
            return {"task_count": event.count}
        case TasksEnded():
            failed, count = len(event.failed_tasks), event.last_task - event.first_task + 1
            return {
                "tasks_completed": row["tasks_completed"] + count - failed,
                "tasks_failed": row["tasks_failed"] + failed,
            }
        case CommitRequested():
            return {
                "dataset_id": event.commit.dataset_id,
                "outcomes": _plain(event.commit)["outcomes"],
                "metrics": _plain(event.metrics),
            }
        case CommitPostponed():
            return {"reason": f"waits for dataset {event.dataset_id}: {event.reason}"}
        case CommitWithdrawn():
            return {"dataset_version": 0}
        case StageCommitted():
            return {"dataset_id": event.dataset_id, "dataset_version": event.dataset_version, "reason": ""}
        case StagePublished():
            return {"location": event.location, "phase": StagePhase.PUBLISH.value}
        case StageStopRequested():
            return {"reason": f"stopped: {event.reason.value.replace('_', ' ')}"}
        case StageStopped():
            return {"metrics": _plain(event.metrics)}
    return _result(event, row, time)


def _result(event: AttemptEvent, row: Any, time: datetime) -> Row:
    match event:
        case StageCompleted():
            evaluated = {"outcomes": _plain(event)["outcomes"]} if event.outcomes else {}
            return {
                "status": StageStatus.COMPLETED.value,
                "attempt": event.attempt,
                "output": _plain(event.output),
                "metrics": _plain(event.metrics),
                "cached_from": event.cached_from,
                "reason": _windows_wait(event),
                "failure": None,
                "ended_at": time,
                **evaluated,
            }
        case StageRetrying() | StageFailed():
            again = isinstance(event, StageRetrying)
            return {
                "status": (StageStatus.RETRYING if again else StageStatus.FAILED).value,
                "reason": event.failure.problem,
                "failure": _plain(event.failure),
                "metrics": _plain(event.metrics),
                "outcomes": _plain(event)["outcomes"],
                "retry_at": event.retry_at if isinstance(event, StageRetrying) else None,
                "ended_at": None if again else time,
                "tasks_failed": 0 if again else row["tasks_failed"],
            }
    return {}


def _windows_wait(event: StageCompleted) -> str:
    """Why a batch of a stream has written nothing: what its windows wait for."""
    ends = [(each.next_end, each.watermark, each.held_by) for each in event.streams if each.next_end is not None]
    if event.metrics.rows_written or not ends:
        return ""
    end, mark, partition = min(ends, key=lambda each: each[0])
    reached = "there is no watermark yet" if mark is None else f"the watermark is at {instant(mark)}"
    holding = "" if partition is None else f", held back by partition {partition}"
    return f"no rows: the first open window ends at {instant(end)}, and {reached}{holding}"


def _worker(recorded: Recorded, event: WorkerEvent, rows: Rows) -> None:
    time = recorded.meta.time
    if isinstance(event, WorkerRequested):
        row = WORKERS.first(
            worker=event.worker,
            pipeline_id=event.pipeline_id,
            project=recorded.meta.project,
            pipeline_version=event.pipeline_version,
            stage_id=event.stage_id,
            watches=event.watches,
            requested_at=time,
            updated_at=time,
        )
        rows.put(WORKERS, row)
        return
    found = rows.get(WORKERS, (event.worker,))
    if found is None:
        return  # of a stage that is a job: there is no worker, and its end is the stage's
    change: Row
    match event:
        case WorkerStarted():
            change = {"started_at": time}
        case WorkerReady():
            change = {"ready": True, "ready_at": time}
        case WorkerReleased():
            change = {"reason": event.reason, "released_at": time}
        case WorkerGone():
            change = {"reason": found["reason"] or event.reason, "ended_at": time, "ready": False}
        case _:
            raise TypeError(f"workers have no {type(event).__name__}")
    rows.put(WORKERS, {**found, **change, "updated_at": time})


def _plain(model: Any) -> Any:
    return model.model_dump(mode="json")


def _found(rows: Rows, table: Table, key: Key) -> Any:
    row = rows.get(table, key)
    assert row is not None, "the decider lets nothing come before a run is queued"
    return row
