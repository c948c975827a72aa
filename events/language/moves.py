"""The state machines of the main flow as tables of allowed moves.

Aggregates ask `check_move` before a status changes; the tables are drawn in docs/reference/state-machines.md. A status
that may follow itself (a retry whose start was never seen) says so in its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from events.language.common import ErrorCode, Refused
from events.language.hardware import NodeStatus
from events.language.jobspec import JobStatus
from events.language.resources import AllocationStatus
from events.language.scheduling import QueueStatus

Status = TypeVar("Status", bound=StrEnum)
Moves = Mapping[Status, frozenset[Status]]

J, N, A, Q = JobStatus, NodeStatus, AllocationStatus, QueueStatus

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

NODE_MOVES: Moves[NodeStatus] = {
    N.READY: frozenset({N.NOT_READY, N.CORDONED, N.DRAINING, N.LOST, N.MAINTENANCE, N.TERMINATING}),
    N.NOT_READY: frozenset({N.READY, N.CORDONED, N.DRAINING, N.LOST, N.MAINTENANCE, N.TERMINATING}),
    N.CORDONED: frozenset({N.READY, N.NOT_READY, N.DRAINING, N.LOST, N.MAINTENANCE, N.TERMINATING}),
    N.DRAINING: frozenset({N.READY, N.NOT_READY, N.CORDONED, N.DRAINED, N.LOST, N.TERMINATING}),
    N.DRAINED: frozenset({N.READY, N.NOT_READY, N.CORDONED, N.LOST, N.MAINTENANCE, N.TERMINATING}),
    # A node comes back as what it was: an operator's cordon or drain outlives the loss.
    N.LOST: frozenset({N.READY, N.CORDONED, N.DRAINING, N.DRAINED, N.MAINTENANCE, N.TERMINATING}),
    N.MAINTENANCE: frozenset({N.READY, N.NOT_READY, N.CORDONED, N.LOST, N.TERMINATING}),
    N.TERMINATING: frozenset(),
}
"""A node; it starts as `ready` when it registers, and `RemoveNode` forgets it from any status."""

ALLOCATION_MOVES: Moves[AllocationStatus] = {
    A.PENDING: frozenset({A.BOUND, A.REJECTED}),
    A.BOUND: frozenset({A.ACTIVE, A.STOPPING, A.RELEASED, A.LOST}),
    A.ACTIVE: frozenset({A.STOPPING, A.RELEASED, A.LOST}),
    A.STOPPING: frozenset({A.RELEASED, A.LOST}),
    A.RELEASED: frozenset(),
    A.REJECTED: frozenset(),
    A.LOST: frozenset(),
}
"""An allocation; it is `pending` from the placement until the pool's writer has bound or rejected it."""

QUEUE_MOVES: Moves[QueueStatus] = {
    Q.ACTIVE: frozenset({Q.PAUSED, Q.DRAINING, Q.CLOSED}),
    Q.PAUSED: frozenset({Q.ACTIVE, Q.DRAINING, Q.CLOSED}),
    Q.DRAINING: frozenset({Q.ACTIVE, Q.PAUSED, Q.CLOSED}),
    Q.CLOSED: frozenset({Q.ACTIVE, Q.PAUSED}),
}
"""A queue; it starts as `active`."""


class IllegalMove(Refused):
    """A status change that its table does not allow. As a refusal of a command its code is `failed_precondition`."""

    def __init__(self, old: StrEnum, new: StrEnum, allowed: frozenset[StrEnum], what: str = "") -> None:
        names = ", ".join(sorted(allowed))
        after = f"after {old} comes {names}" if allowed else f"{old} is final"
        super().__init__(
            ErrorCode.FAILED_PRECONDITION,
            f"{what or type(old).__name__} can't go from {old} to {new}: {after}",
        )
        self.old = old
        self.new = new


def check_move(table: Moves[Status], old: Status, new: Status, what: str = "") -> None:
    """Raises `IllegalMove` unless `table` allows the move. `what` names the thing, such as ``job train-1 task 3``."""
    if new not in table[old]:
        raise IllegalMove(old, new, frozenset(table[old]), what)


def may_move(table: Moves[Status], old: Status, new: Status) -> bool:
    """Whether `table` allows the move."""
    return new in table[old]


def final(table: Moves[Status]) -> frozenset[Status]:
    """The statuses that nothing follows."""
    return frozenset(status for status, following in table.items() if not following)
