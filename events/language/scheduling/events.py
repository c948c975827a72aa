"""Events of queues, and of jobs in them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from events.language.base import Event
from events.language.common import DisplayName, Identifier, ProjectName
from events.language.jobs.spec import JobLaunch, QueueRequest
from events.language.scheduling.models import (
    PendingReason,
    Placement,
    QueueEntry,
    QueueStatus,
    SchedulingDecision,
    SchedulingPolicy,
)
from events.language.task_ranges import TaskRanges


class SchedulingEvent_(Event):
    context: ClassVar[str] = "scheduling"
    aggregate: ClassVar[str] = "job"
    subject_from: ClassVar[str] = "job_id"
    decided_by: ClassVar[str] = "queue"
    key_from: ClassVar[str] = "queue"

    queue: Identifier


class QueueCreated(SchedulingEvent_):
    """There is such a queue from here on; it is active."""

    aggregate: ClassVar[str] = "queue"
    subject_from: ClassVar[str] = "queue"
    begins: ClassVar[bool] = True

    policy: SchedulingPolicy


class QueueDeleted(SchedulingEvent_):
    """There is no such queue any more."""

    aggregate: ClassVar[str] = "queue"
    subject_from: ClassVar[str] = "queue"


class QueueConfigured(SchedulingEvent_):
    """A queue has this policy and status from here on."""

    aggregate: ClassVar[str] = "queue"
    subject_from: ClassVar[str] = "queue"

    policy: SchedulingPolicy
    status: QueueStatus


class JobEnqueued(SchedulingEvent_):
    """Tasks entered the queue."""

    begins: ClassVar[bool] = True

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
