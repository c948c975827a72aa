"""Commands and events of scheduling: queue entries, placements, and why a job waits.

The aggregate is the queue; in the spine a queue schedules onto the resource pool of the same name. Scheduling only
proposes: resources, the single writer of a pool's capacity, binds or rejects a placement.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Command, Event, Model
from events.language.common import Attempt, DisplayName, Identifier, ProjectName, TaskRanges, Timestamp
from events.language.jobspec import JobLaunch, QueueRequest
from events.language.planned import Planned


class SchedulingCommand(Command):
    context: ClassVar[str] = "scheduling"
    subject_from: ClassVar[str] = "queue"
    key_from: ClassVar[str] = "queue"

    queue: Identifier


class SchedulingEvent_(Event):
    context: ClassVar[str] = "scheduling"
    subject_from: ClassVar[str] = "job_id"
    key_from: ClassVar[str] = "queue"

    queue: Identifier


class SchedulingPolicy(StrEnum):
    """In which order a queue's jobs are placed. The summary names `fifo` and `preemptive`; between them stand the
    field's usual five (Slurm, YuniKorn, Volcano)."""

    FIFO = "fifo"
    """First come, first served."""
    PRIORITY = "priority"
    """By priority, then age."""
    FAIR_SHARE = "fair_share"
    """Whoever had least of their share comes first."""
    BACKFILL = "backfill"
    """Small jobs may pass a waiting large one if they do not delay it."""
    GANG = "gang"
    """All tasks of a job at once, or none."""
    DEADLINE = "deadline"
    """Earliest deadline first."""
    PREEMPTIVE = "preemptive"
    """More important jobs stop less important ones."""


PLANNED_POLICIES = frozenset(SchedulingPolicy) - {SchedulingPolicy.FIFO, SchedulingPolicy.PRIORITY}
"""Policies that no engine has yet."""


class QueueStatus(StrEnum):
    """What a queue does with jobs. The allowed moves are in `QUEUE_MOVES`; the summary names `active` and `closed`."""

    ACTIVE = "active"
    """Takes jobs and starts them."""
    PAUSED = "paused"
    """Takes jobs, starts none."""
    DRAINING = "draining"
    """Takes no new jobs, starts those it has."""
    CLOSED = "closed"
    """Takes none, starts none."""


class SchedulingDecision(StrEnum):
    """What scheduling says of a job. The summary names `scheduled` and `deferred`."""

    SCHEDULED = "scheduled"
    """It has nodes."""
    QUEUED = "queued"
    """It waits its turn."""
    REJECTED = "rejected"
    """The queue does not take it."""
    PREEMPTED = "preempted"
    """It was stopped to make room."""
    DEFERRED = "deferred"
    """It can't be placed now; the reasons say why."""


class PendingReason(Model):
    """Why some nodes can't take a task: one line of "why is it pending"."""

    reason: str
    """Such as ``insufficient cpus`` or ``taint gpu=reserved not tolerated``."""
    detail: str = ""
    """Such as ``needs 16, at most 3.5 free``."""
    nodes: int = Field(ge=0, le=10_000_000)
    """How many nodes this is true of."""
    node_group: str = ""
    """What these nodes share (their labels or shape), for people."""


class Placement(Model):
    """Tasks of one attempt on one node."""

    node_id: Identifier
    allocation_id: Identifier
    tasks: TaskRanges
    attempt: Attempt
    score: float = 0.0
    """Higher is better; best fit over all resource kinds."""


class QueueEntry(Model):
    """Tasks that wait in a queue."""

    job_id: Identifier
    project: ProjectName
    owner: DisplayName
    tasks: TaskRanges
    attempt: Attempt
    not_before: Timestamp | None = None
    request: QueueRequest
    launch: JobLaunch


class CreateQueue(SchedulingCommand):
    """Make a queue, with its policy (fifo or priority). `default` is always there, and so is the queue of every pool
    that has nodes."""

    policy: Annotated[SchedulingPolicy, Planned("the engine of that policy", values=frozenset(PLANNED_POLICIES))] = (
        SchedulingPolicy.PRIORITY
    )


class DeleteQueue(SchedulingCommand):
    """Delete a queue that has no jobs and whose pool has no nodes."""


class ConfigureQueue(SchedulingCommand):
    """Set a queue's policy (fifo or priority) and status."""

    policy: Annotated[
        SchedulingPolicy | None, Planned("the engine of that policy", values=frozenset(PLANNED_POLICIES))
    ] = None
    status: QueueStatus | None = None


class QueueCreated(SchedulingEvent_):
    """There is such a queue from here on; it is active."""

    subject_from: ClassVar[str] = "queue"

    policy: SchedulingPolicy


class QueueDeleted(SchedulingEvent_):
    """There is no such queue any more."""

    subject_from: ClassVar[str] = "queue"


class QueueConfigured(SchedulingEvent_):
    """A queue has this policy and status from here on."""

    subject_from: ClassVar[str] = "queue"

    policy: SchedulingPolicy
    status: QueueStatus


class JobEnqueued(SchedulingEvent_):
    """Tasks entered the queue."""

    job_id: Identifier
    entry: QueueEntry


class JobScheduled(SchedulingEvent_):
    """Tasks were given nodes; resources will bind or reject each placement."""

    job_id: Identifier
    project: ProjectName
    owner: DisplayName
    decision: SchedulingDecision = SchedulingDecision.SCHEDULED
    placements: tuple[Placement, ...] = Field(min_length=1)
    request: QueueRequest
    launch: JobLaunch
    waited_seconds: float = Field(default=0.0, ge=0)


class JobDeferred(SchedulingEvent_):
    """The job can't be placed now; said once and again whenever the reasons change."""

    job_id: Identifier
    decision: SchedulingDecision = SchedulingDecision.DEFERRED
    tasks: TaskRanges
    reasons: tuple[PendingReason, ...]
    message: str
    """One line for people: ``0 of 5 nodes can take a task: 3 insufficient gpus, 2 cordoned``."""


class JobDequeued(SchedulingEvent_):
    """Tasks left the queue without having run (cancelled, or the queue refuses them)."""

    job_id: Identifier
    tasks: TaskRanges
    attempt: int = Field(default=0, ge=0, le=1_000_000)
    """The attempt that was waiting; 0 when there was none."""
    reason: str = ""


class JobUnscheduled(SchedulingEvent_):
    """Tasks that may hold or soon get an allocation must be stopped (cancel; later preemption)."""

    job_id: Identifier
    project: ProjectName
    allocations: tuple[Identifier, ...]
    tasks: TaskRanges
    grace_seconds: float = Field(ge=0)
    reason: str = ""
