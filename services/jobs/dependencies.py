"""Jobs that wait for others. Each job records its dependents in its own history, so no view of all jobs is needed.

B submitted, waits for A ─► DependencyRequested(B, A) ─► (A) DependentRegistered, or at once DependencyResolved
  ─► (A ends) DependencyResolved ─► (B) DependencyMet and JobQueued, or B is cancelled
B requeued after it was cancelled while it waited ─► JobRequeued, and DependencyRequested anew
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from events.language.base import Event
from events.language.jobs import (
    DependencyMet,
    DependencyOutcome,
    DependencyRequested,
    DependencyResolved,
    DependentRegistered,
    JobTasksCancelled,
)
from events.language.jobs.spec import DependencyKind, JobStatus
from events.language.task_ranges import format_ranges
from services.jobs.ending import conclude
from services.jobs.queueing import queued
from services.jobs.state import Job


def ask(job_id: str, dependencies: Mapping[str, DependencyKind]) -> list[Event]:
    """The events by which a job asks its dependencies for their outcome."""
    return [
        DependencyRequested(job_id=job_id, dependency=dependency, kind=kind)
        for dependency, kind in dependencies.items()
    ]


def asked(job: Job, event: DependencyRequested) -> Sequence[Event]:
    """React to another job (`event.job_id`) that waits for this one."""
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
    """React to the outcome of a dependency: it has ended, or does not exist."""
    kind = job.waiting.get(event.job_id)
    spec = job.spec
    if kind is None or spec is None or job.ended is not None:
        return ()
    pending = [task for task in range(job.size) if job.status(task) is JobStatus.PENDING]
    if event.outcome in _HOLDS[kind]:
        met = DependencyMet(job_id=job.job_id, dependency=event.job_id, outcome=event.outcome)
        if len(job.waiting) > 1:
            return [met]
        attempts = {job.attempts[task] + 1 for task in pending}
        return [
            met,
            *(
                queued(job, spec, [task for task in pending if job.attempts[task] + 1 == attempt], attempt)
                for attempt in sorted(attempts)
            ),
        ]
    if not pending:
        return ()  # the job runs already: an earlier version did not ask again after a requeue
    if event.outcome is DependencyOutcome.UNKNOWN:
        reason = f"depends on job {event.job_id}, which does not exist; submit it first"
    else:
        reason = f"depends on job {event.job_id} {kind.value}, which has {event.outcome.value}"
    cancelled = JobTasksCancelled(job_id=job.job_id, tasks=format_ranges(pending), reason=reason)
    return [cancelled, *conclude(job, cancelled=pending, reason=reason)]
