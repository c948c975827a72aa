"""Policies, statuses and values of scheduling: queue entries, placements, and why a job waits."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from events.language.base import Model
from events.language.common import Attempt, DisplayName, Identifier, ProjectName, Timestamp
from events.language.jobs.spec import JobLaunch, QueueRequest
from events.language.task_ranges import TaskRanges


class SchedulingPolicy(StrEnum):
    """In which order a queue's jobs are placed. The summary names `fifo` and `preemptive`; between them stand the
    field's usual five (Slurm, YuniKorn, Volcano)."""

    FIFO = "fifo"
    """First come, first served."""
    PRIORITY = "priority"
    """By priority, then age."""
    FAIR_SHARE = "fair_share"
    """The user with the smallest part of their fair share comes first."""
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
