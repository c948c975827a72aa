"""Jobs that wait for others. The job that is waited for answers in its own history, so no one needs a view of all jobs.

B submitted, waits for A ─► DependencyRequested(B, A) ─► (A) DependentRegistered, or at once DependencyResolved
  ─► (A ends) DependencyResolved ─► (B) DependencyMet and JobQueued, or B is cancelled
"""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import format_ranges
from events.language.jobs import (
    DependencyMet,
    DependencyOutcome,
    DependencyRequested,
    DependencyResolved,
    DependentRegistered,
    JobTasksCancelled,
)
from events.language.jobspec import DependencyKind, JobStatus
from services.jobs.making import conclude, queued
from services.jobs.state import Job


def asked(job: Job, event: DependencyRequested) -> Sequence[Event]:
    """Another job (`event.job_id`) waits for this one."""
    dependent = event.job_id
    if job.submitted and job.ended is None:
        if dependent in job.dependents:
            return ()
        return [DependentRegistered(job_id=job.job_id, dependent=dependent)]
    return [DependencyResolved(job_id=job.job_id, dependent=dependent, outcome=job.outcome())]


_HOLDS = {
    DependencyKind.AFTER_OK: frozenset({DependencyOutcome.COMPLETED}),
    DependencyKind.AFTER_NOT_OK: frozenset({DependencyOutcome.FAILED, DependencyOutcome.CANCELLED}),
    DependencyKind.AFTER_ANY: frozenset(
        {DependencyOutcome.COMPLETED, DependencyOutcome.FAILED, DependencyOutcome.CANCELLED}
    ),
}


def answered(job: Job, event: DependencyResolved) -> Sequence[Event]:
    """A job that this one waits for has ended, or never was."""
    kind = job.waiting.get(event.job_id)
    spec = job.spec
    if kind is None or spec is None or job.ended is not None:
        return ()
    if event.outcome in _HOLDS[kind]:
        met = DependencyMet(job_id=job.job_id, dependency=event.job_id, outcome=event.outcome)
        if len(job.waiting) > 1:
            return [met]
        ready = [task for task in range(job.size) if job.status(task) is JobStatus.PENDING]
        return [met, queued(job, spec, ready, 1)] if ready else [met]
    if event.outcome is DependencyOutcome.UNKNOWN:
        reason = f"depends on job {event.job_id}, which does not exist; submit it first"
    else:
        reason = f"depends on job {event.job_id} {kind.value}, which has {event.outcome.value}"
    tasks = [task for task in range(job.size) if job.status(task) is JobStatus.PENDING]
    cancelled = JobTasksCancelled(job_id=job.job_id, tasks=format_ranges(tasks), reason=reason)
    return [cancelled, *conclude(job, cancelled=tasks, reason=reason)]
