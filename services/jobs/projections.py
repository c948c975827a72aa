"""The tables of jobs, tasks and attempts. A task has no row before its first event of its own. Pure folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from events.language.base import Message
from events.language.jobs import (
    DependencyMet,
    DependencyRequested,
    JobAssigned,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobEnded,
    JobExited,
    JobOutputsKept,
    JobQueued,
    JobRequeued,
    JobStarted,
    JobSubmitted,
    JobTaskReady,
    JobTasksCancelled,
    JobTaskUnready,
    OutputDigests,
    TaskExit,
)
from events.language.jobs.spec import PRIORITY_WEIGHT, JobStatus
from events.language.task_ranges import count_tasks, tasks_in
from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Row, Rows, Table
from events.projections.references import REFERENCES, put_references, reference_keys
from services.jobs.outputs_rows import OUTPUTS, outputs_touched, put_outputs
from services.jobs.rendering import jobs_in, render_spec, status_of
from services.jobs.rows import ATTEMPTS, JOBS, SPECS, TASKS

_BY_TASK = frozenset((JobAssigned, JobTasksCancelled, JobRequeued))
"""Events that change the rows of the tasks they name."""


class JobsProjection(Projection):
    """Folds events.jobs."""

    context = "jobs"
    tables = (JOBS, SPECS, TASKS, ATTEMPTS, OUTPUTS, REFERENCES)
    version = 10

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        event: Any = recorded.data
        kind, id = type(event), event.job_id
        touched: list[tuple[Table, Key]] = [(JOBS, (id,))]
        if kind is JobSubmitted:
            touched.append((SPECS, (id,)))
            if (bundle := event.spec.environment.bundle) is not None:
                touched.extend(reference_keys(id, [bundle]))
        elif kind is JobStarted or kind is JobExited:
            touched.extend((TASKS, (id, item.task)) for item in event.tasks)
            touched.extend((ATTEMPTS, (id, item.task, item.attempt)) for item in event.tasks)
        elif kind is JobTaskReady or kind is JobTaskUnready:
            touched.append((TASKS, (id, event.task)))
        elif kind is JobOutputsKept:
            touched.extend(outputs_touched(event))
        elif kind in _BY_TASK or (kind is JobQueued and event.attempt > 1):
            # The first queueing of a whole array changes no row of a task.
            touched.extend((TASKS, (id, task)) for task in tasks_in(event.tasks))
        return touched

    def project(self, recorded: Recorded, rows: Rows) -> None:
        event: Any = recorded.data
        kind, time = type(event), recorded.meta.time
        if kind is JobSubmitted:
            rows.put(JOBS, _submitted(event, time))
            rows.put(SPECS, {"job_id": event.job_id, "view": render_spec(event.spec)})
            if (bundle := event.spec.environment.bundle) is not None:
                put_references(rows, event.job_id, [bundle], bundle=True)
            return
        found = rows.get(JOBS, (event.job_id,))
        if found is None:
            return  # an answer about a job that does not exist
        job: Row = {**found, "updated_at": time}
        change = _CHANGES.get(kind)
        if change is not None:
            change(event, job, rows, time)
        job["status"] = status_of(job)
        rows.put(JOBS, job)


PROJECTION = JobsProjection()


def _submitted(event: JobSubmitted, time: datetime) -> Row:
    spec = event.spec
    size = spec.array.size if spec.array else 1
    return JOBS.first(
        job_id=event.job_id,
        project=event.project,
        owner=event.owner,
        name=spec.metadata.name,
        queue=spec.queue,
        priority=spec.priority.value,
        priority_weight=PRIORITY_WEIGHT[spec.priority],
        labels=dict(spec.metadata.labels),
        tasks=size,
        tasks_pending=size,
        submitted_at=time,
        updated_at=time,
    )


def _task(rows: Rows, job: Row, task: int) -> Row:
    """A task's row; without one, a new row with the job's defaults."""
    found = rows.get(TASKS, (job["job_id"], task))
    if found is not None:
        return dict(found)
    return TASKS.first(
        job_id=job["job_id"],
        task=task,
        status=job["default_status"],
        attempt=job["default_attempt"],
        queued_at=job["queued_at"],
    )


def _count(job: Row, status: str, change: int) -> None:
    column = f"tasks_{status}"
    if column in job:
        job[column] += change


def _move(rows: Rows, job: Row, task: int, to: JobStatus, change: dict[str, Any]) -> None:
    row = _task(rows, job, task)
    _count(job, row["status"], -1)
    _count(job, to.value, 1)
    row.update(change, status=to.value)
    rows.put(TASKS, row)


def _queued(event: JobQueued, job: Row, rows: Rows, time: datetime) -> None:
    job["queued_at"], job["not_before"] = time, event.not_before
    if job["ended_at"] is not None:  # requeued: the job lives again
        job["ended_at"], job["exit_code"], job["cancel_requested"] = None, None, False
    job["reason"], job["waits_for"] = event.reason, ""
    job["attempts"] = max(job["attempts"], event.attempt)
    if event.attempt == 1:
        count = count_tasks(event.tasks)
        job["tasks_pending"] -= count
        job["tasks_queued"] += count
        job["default_status"], job["default_attempt"] = JobStatus.QUEUED.value, 1
        return
    job["restarts"] += count_tasks(event.tasks)
    fresh = {
        "attempt": event.attempt,
        "node_id": "",
        "allocation_id": "",
        "pid": None,
        "gpus": [],
        "queued_at": time,
        "not_before": event.not_before,
        "started_at": None,
        "ended_at": None,
    }
    for task in tasks_in(event.tasks):
        _move(rows, job, task, JobStatus.QUEUED, fresh)


def _requeued(event: JobRequeued, job: Row, rows: Rows, _time: datetime) -> None:
    job["ended_at"], job["exit_code"], job["cancel_requested"] = None, None, False
    job["reason"] = event.reason
    for task in tasks_in(event.tasks):
        row = _task(rows, job, task)
        _count(job, row["status"], -1)
        _count(job, JobStatus.PENDING.value, 1)
        if row["attempt"] == job["default_attempt"] == 0:
            rows.delete(TASKS, (job["job_id"], task))  # a task that was not queued yet has no row
        else:
            rows.put(TASKS, {**row, "status": JobStatus.PENDING.value, "ended_at": None, "message": ""})


def _assigned(event: JobAssigned, job: Row, rows: Rows, _time: datetime) -> None:
    job["node_id"] = event.node_id
    change = {"node_id": event.node_id, "allocation_id": event.allocation_id}
    for task in tasks_in(event.tasks):
        _move(rows, job, task, JobStatus.SCHEDULED, change)


def _started(event: JobStarted, job: Row, rows: Rows, _time: datetime) -> None:
    job["node_id"], job["not_before"] = event.node_id, None
    for start in event.tasks:
        job["started_at"] = min(job["started_at"] or start.started_at, start.started_at)
        process = {
            "attempt": start.attempt,
            "node_id": event.node_id,
            "allocation_id": start.allocation_id,
            "pid": start.pid,
            "started_at": start.started_at,
        }
        change = {**process, "gpus": list(start.gpus), "not_before": None}
        if start.address:
            change |= {"address": start.address, "ports": dict(start.ports), "ready": False}
        _move(rows, job, start.task, JobStatus.RUNNING, change)
        rows.put(ATTEMPTS, ATTEMPTS.first(job_id=job["job_id"], task=start.task, message="", **process))


def _ready(event: JobTaskReady, job: Row, rows: Rows, _time: datetime) -> None:
    _set_readiness(rows, job, event.task, True, event.changed_at, "")


def _unready(event: JobTaskUnready, job: Row, rows: Rows, _time: datetime) -> None:
    _set_readiness(rows, job, event.task, False, event.changed_at, event.reason)


def _set_readiness(rows: Rows, job: Row, task: int, ready: bool, changed_at: datetime, reason: str) -> None:
    row = _task(rows, job, task)
    job["tasks_ready"] += bool(ready) - bool(row["ready"])
    rows.put(TASKS, {**row, "ready": ready, "unready_reason": reason, "readiness_changed_at": changed_at})


def _ends_readiness(rows: Rows, job: Row, task: int) -> Row:
    """What the end of an attempt changes in its task's row."""
    row = _task(rows, job, task)
    if row["ready"] is None:
        return {}
    job["tasks_ready"] -= bool(row["ready"])
    return {"ready": None, "unready_reason": "", "readiness_changed_at": None, "address": "", "ports": {}}


def _exited(event: JobExited, job: Row, rows: Rows, _time: datetime) -> None:
    fates: dict[int, JobStatus] = {}
    for ranges, status in (
        (event.completed, JobStatus.COMPLETED),
        (event.failed, JobStatus.FAILED),
        (event.cancelled, JobStatus.CANCELLED),
    ):
        fates.update((task, status) for task in tasks_in(ranges)) if ranges else None
    for exit in event.tasks:
        end = _end(exit)
        fate = fates.get(exit.task)
        usage = {"cpu_seconds": exit.usage.cpu_seconds, "max_rss_bytes": exit.usage.max_rss_bytes}
        usage |= _ends_readiness(rows, job, exit.task)
        if fate is None:  # runs again: `JobQueued` follows in the same append
            rows.put(TASKS, {**_task(rows, job, exit.task), **end, **usage})
        else:
            _move(rows, job, exit.task, fate, {**end, **usage})
        found = rows.get(ATTEMPTS, (job["job_id"], exit.task, exit.attempt))
        attempt = found or ATTEMPTS.first(
            job_id=job["job_id"],
            task=exit.task,
            attempt=exit.attempt,
            node_id=event.node_id,
            allocation_id=exit.allocation_id,
        )
        rows.put(ATTEMPTS, {**attempt, **end, **_usage(exit), **_output(exit)})


def _end(exit: TaskExit) -> Row:
    return {
        "ended_at": exit.ended_at,
        "exit_code": exit.exit_code,
        "signal": exit.signal,
        "exit_reason": exit.reason.value,
        "message": exit.message,
    }


def _usage(exit: TaskExit) -> Row:
    used = exit.usage
    return {"cpu_seconds": used.cpu_seconds, "wall_seconds": used.wall_seconds, "gpu_seconds": used.gpu_seconds}


def _output(exit: TaskExit) -> Row:
    return dict.fromkeys(OutputDigests.model_fields) if exit.output is None else dict(exit.output)


def _cancelled(event: JobTasksCancelled, job: Row, rows: Rows, time: datetime) -> None:
    job["reason"] = event.reason
    for task in tasks_in(event.tasks):
        _move(rows, job, task, JobStatus.CANCELLED, {"ended_at": time, "message": event.reason})


def _cancel_requested(event: JobCancelRequested, job: Row, _rows: Rows, _time: datetime) -> None:
    job["cancel_requested"] = True
    job["reason"] = event.reason


def _waits(event: DependencyRequested, job: Row, _rows: Rows, _time: datetime) -> None:
    _waits_for(job, list(dict.fromkeys([*jobs_in(job["waits_for"]), event.dependency])))


def _met(event: DependencyMet, job: Row, _rows: Rows, _time: datetime) -> None:
    _waits_for(job, [other for other in jobs_in(job["waits_for"]) if other != event.dependency])


def _waits_for(job: Row, others: list[str]) -> None:
    job["waits_for"] = ",".join(others)
    rest = len(others) - _NAMED
    named = ", ".join(others[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    job["reason"] = f"waits for job{'s' if len(others) > 1 else ''} {named}" if others else ""


_NAMED = 3
"""Most jobs that a reason names; `waits_for` has all."""


def _ended(event: JobEnded, job: Row, _rows: Rows, time: datetime) -> None:
    ran = job["started_at"] is not None or not isinstance(event, JobCancelled)
    job["exit_code"] = event.exit_code if ran else None
    job["ended_at"], job["not_before"], job["waits_for"] = time, None, ""
    # Once the job has completed, the failure of an earlier attempt is not its reason any more.
    job["reason"] = event.reason or ("" if isinstance(event, JobCompleted) else job["reason"])


_CHANGES: Mapping[type[Message], Callable[[Any, Row, Rows, datetime], None]] = {
    JobQueued: _queued,
    JobRequeued: _requeued,
    JobAssigned: _assigned,
    JobStarted: _started,
    JobTaskReady: _ready,
    JobTaskUnready: _unready,
    JobExited: _exited,
    JobOutputsKept: put_outputs,
    JobCancelRequested: _cancel_requested,
    JobTasksCancelled: _cancelled,
    DependencyRequested: _waits,
    DependencyMet: _met,
    **dict.fromkeys(JobEnded.__subclasses__(), _ended),
}
"""Event type → the fold of what it changes besides the time; other events change only the time. (By type, since
`isinstance` and `match` are slow for abstract base classes.)"""
