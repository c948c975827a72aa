"""Decisions about the readiness of a service's tasks, which agents report when it changes. Pure.

An exit ends an attempt's readiness without an event of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import ErrorCode, FieldError, Refused
from events.language.jobs import JobTaskReady, JobTaskUnready, ReportTaskReadiness, TaskReadiness
from events.language.jobs.spec import JobStatus
from services.jobs.refusals import unknown_attempt
from services.jobs.state import Job, Readiness


def readiness_changed(job: Job, command: ReportTaskReadiness) -> Sequence[Event]:
    """An event for each task whose readiness changed. What an agent reports late or once more (of an attempt that is
    over, or older than what is known) changes nothing: it repeats its reports until they are answered."""
    spec = job.spec
    assert spec is not None
    if spec.service is None:
        problem = f"job {job.job_id} is no service; it was submitted without service"
        raise Refused(ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="tasks", problem=problem)])
    events: list[Event] = []
    known = dict(job.readiness)
    for each in command.tasks:
        if each.task >= job.size or each.attempt > job.attempts[each.task]:
            raise unknown_attempt(job, each.task, each.attempt)
        if each.attempt < job.attempts[each.task] or job.status(each.task) is not JobStatus.RUNNING:
            continue
        before = known.get(each.task)
        if before is not None and (each.ready is before.ready or each.changed_at < before.changed_at):
            continue
        known[each.task] = Readiness(each.ready, each.changed_at)
        events.append(_changed(job, command.node_id, each))
    return events


def _changed(job: Job, node_id: str, each: TaskReadiness) -> JobTaskReady | JobTaskUnready:
    about = {"job_id": job.job_id, "node_id": node_id, "task": each.task, "attempt": each.attempt}
    if each.ready:
        return JobTaskReady(**about, changed_at=each.changed_at)
    return JobTaskUnready(**about, changed_at=each.changed_at, reason=each.reason)
