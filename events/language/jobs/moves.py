"""The allowed moves of jobs and their tasks; drawn in docs/reference/state-machines.md."""

from __future__ import annotations

from events.language.jobs.spec import JobStatus
from events.language.moves import Moves, StateMachine

J = JobStatus

JOB_MOVES: Moves[JobStatus] = {
    J.PENDING: frozenset({J.QUEUED, J.CANCELLED}),
    # An agent's report may arrive before the news of the allocation it is about, so `scheduled` can be skipped.
    J.QUEUED: frozenset({J.QUEUED, J.SCHEDULED, J.STARTING, J.RUNNING, J.COMPLETED, J.FAILED, J.CANCELLED}),
    J.SCHEDULED: frozenset(
        {J.STARTING, J.RUNNING, J.QUEUED, J.PREEMPTED, J.COMPLETED, J.FAILED, J.CANCELLED},
    ),
    J.STARTING: frozenset({J.RUNNING, J.QUEUED, J.PREEMPTED, J.COMPLETED, J.FAILED, J.CANCELLED}),
    # Back to `queued` is a retry, a lost node or a drain: the next attempt.
    J.RUNNING: frozenset(
        {J.CHECKPOINTING, J.PAUSED, J.PREEMPTED, J.MIGRATING, J.QUEUED, J.COMPLETED, J.FAILED, J.CANCELLED},
    ),
    J.CHECKPOINTING: frozenset(
        {J.RUNNING, J.PAUSED, J.PREEMPTED, J.MIGRATING, J.QUEUED, J.COMPLETED, J.FAILED, J.CANCELLED},
    ),
    J.PAUSED: frozenset({J.RUNNING, J.PREEMPTED, J.MIGRATING, J.QUEUED, J.FAILED, J.CANCELLED}),
    J.PREEMPTED: frozenset({J.QUEUED, J.FAILED, J.CANCELLED}),
    J.MIGRATING: frozenset({J.SCHEDULED, J.STARTING, J.RUNNING, J.QUEUED, J.FAILED, J.CANCELLED}),
    J.COMPLETED: frozenset(),
    # `RequeueJob` runs failed and cancelled tasks again, once the job's dependencies hold.
    J.FAILED: frozenset({J.QUEUED, J.PENDING}),
    J.CANCELLED: frozenset({J.QUEUED, J.PENDING}),
}
"""A job and each of its tasks; a job starts as `pending`."""

MACHINES = (
    StateMachine(
        "Jobs and their tasks",
        "Back to `queued` is the next attempt: a retry by the restart policy, a lost or drained node, a preemption,\n"
        "or (from `failed` and `cancelled`) a `RequeueJob`.",
        JOB_MOVES,
    ),
)
