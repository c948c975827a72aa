"""The end of a job: its terminal event, and the answers to jobs that wait for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.jobs import (
    DependencyOutcome,
    DependencyResolved,
    JobCancelled,
    JobCompleted,
    JobFailed,
    TaskCounts,
)
from services.jobs.state import CANCELLED_EXIT_CODE, Job

MOST_ANSWERS = 2_000
"""To dependents, together with the end: all that one input leads to is one append. Each answer that is heard is
followed by another one then."""


def conclude(
    job: Job,
    *,
    completed: Sequence[int] = (),
    failed: Sequence[int] = (),
    cancelled: Sequence[int] = (),
    exit_code: int = 0,
    failure: str = "",
    reason: str = "",
) -> list[Event]:
    """The job's terminal event and the answers to its first dependents; none if other tasks have not ended yet.

    `exit_code`, `failure`: of the first of these tasks that failed; the job keeps those of an earlier failed task.
    `reason`: why tasks were cancelled."""
    now = job.counts()
    counts = TaskCounts(
        total=now.total,
        completed=now.completed + len(completed),
        failed=now.failed + len(failed),
        cancelled=now.cancelled + len(cancelled),
    )
    if counts.completed + counts.failed + counts.cancelled < counts.total:
        return []
    kind: type[JobCompleted] | type[JobFailed] | type[JobCancelled]
    if counts.failed:
        kind, code, outcome = JobFailed, job.exit_code or exit_code or 1, DependencyOutcome.FAILED
        reason = job.failure or failure or reason
        if counts.total > 1:
            reason = f"{counts.failed} of {counts.total} tasks failed" + (f"; {reason}" if reason else "")
    elif counts.cancelled:
        kind, code, outcome = JobCancelled, CANCELLED_EXIT_CODE, DependencyOutcome.CANCELLED
    else:
        kind, code, outcome = JobCompleted, 0, DependencyOutcome.COMPLETED
    end = kind(job_id=job.job_id, project=job.project, counts=counts, exit_code=code, reason=reason)
    answers = [
        DependencyResolved(job_id=job.job_id, dependent=dependent, outcome=outcome)
        for dependent in sorted(job.dependents)[:MOST_ANSWERS]
    ]
    return [end, *answers]


def answer_next(job: Job) -> list[Event]:
    """React to an answer to one of the job's dependents: answer the next one that has none."""
    if job.ended is None or not job.dependents:
        return []
    return [DependencyResolved(job_id=job.job_id, dependent=min(job.dependents), outcome=job.outcome())]
