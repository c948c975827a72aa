"""Events that several decisions about a job lead to: its tasks queued, the job concluded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from events.language.base import Event
from events.language.jobs import (
    MAX_REASON,
    DependencyOutcome,
    DependencyResolved,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobQueued,
    TaskCounts,
)
from events.language.jobs.spec import JobLaunch, JobSpec, QueueRequest
from events.language.task_ranges import format_ranges
from services.jobs.state import CANCELLED_EXIT_CODE, Job


def queued(
    job: Job,
    spec: JobSpec,
    tasks: Iterable[int],
    attempt: int,
    *,
    not_before: datetime | None = None,
    reason: str = "",
    counted: bool = False,
) -> JobQueued:
    """Tasks become ready, with the cuts of the spec that scheduling and the agents need."""
    submitted_at = job.submitted_at
    assert submitted_at is not None
    return JobQueued(
        job_id=job.job_id,
        project=job.project,
        owner=job.owner,
        tasks=format_ranges(tasks),
        attempt=attempt,
        not_before=not_before,
        reason=reason[:MAX_REASON],
        counted=counted,
        request=QueueRequest(
            queue=spec.queue,
            priority=spec.priority,
            submitted_at=submitted_at,
            name=spec.metadata.name,
            labels=dict(spec.metadata.labels),
            resources=spec.resources,
            scheduling=spec.scheduling,
            max_parallel=spec.array.max_parallel if spec.array else None,
        ),
        launch=JobLaunch(
            name=spec.metadata.name,
            command=spec.command,
            args=spec.args,
            environment=spec.environment,
            array_size=spec.array.size if spec.array else 1,
            grace_seconds=spec.scheduling.grace_seconds,
            max_runtime_seconds=spec.scheduling.max_runtime_seconds,
            keep=spec.keep,
        ),
    )


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
    """The job's terminal event, if these were the last tasks, and the answers to those who wait for it. `exit_code` and
    `failure` are of the first failed task, unless one had failed before; `reason` is why tasks were cancelled."""
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
        for dependent in sorted(job.dependents)
    ]
    return [end, *answers]
