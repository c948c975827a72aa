"""Events of jobs. A task is named by its number in the array (0 for a job that is no array); an attempt from 1."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Event, Model
from events.language.common import (
    MAX_ARRAY_TASKS,
    Attempt,
    DisplayName,
    Identifier,
    OptionalIdentifier,
    ProjectName,
    TaskNumber,
    Timestamp,
)
from events.language.jobs.models import MAX_READINESS_REASON, TaskExit, TaskOutputs, TaskStart
from events.language.jobs.spec import DependencyKind, JobLaunch, JobSpec, QueueRequest
from events.language.task_ranges import TaskRanges


class JobEvent(Event):
    context: ClassVar[str] = "jobs"
    aggregate: ClassVar[str] = "job"
    subject_from: ClassVar[str] = "job_id"
    key_from: ClassVar[str] = "job_id"

    job_id: Identifier


class JobSubmitted(JobEvent):
    """A job was accepted."""

    begins: ClassVar[bool] = True

    project: ProjectName
    owner: DisplayName
    spec: JobSpec


MAX_REASON = 720
"""Characters of why tasks are queued again: who asked (200 at most), and the reason that a command gave (500)."""


class JobRequeued(JobEvent):
    """A user requeued ended tasks, and the job's dependencies do not hold yet: the tasks wait (state `pending`)."""

    tasks: TaskRanges
    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""


class JobQueued(JobEvent):
    """Tasks are ready to be scheduled: dependencies hold, or a retry or requeue is due."""

    project: ProjectName
    owner: DisplayName
    tasks: TaskRanges
    attempt: Attempt
    not_before: Timestamp | None = None
    """Back-off: earliest time to start."""
    request: QueueRequest
    launch: JobLaunch
    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""
    """Why again: empty for a first attempt, else what the restart policy or the user said."""
    counted: bool = False
    """Whether it counts against the restart policy's `max_restarts`."""


class JobAssigned(JobEvent):
    """Tasks have an allocation on a node (state `scheduled`)."""

    node_id: Identifier
    allocation_id: Identifier
    tasks: TaskRanges
    attempt: Attempt


class JobStarted(JobEvent):
    """Processes of these tasks are running."""

    node_id: Identifier
    tasks: tuple[TaskStart, ...]


class JobTaskReady(JobEvent):
    """A task of a service may be called: its `JobStarted` says where. It may until it is unready, or has exited."""

    node_id: Identifier
    task: TaskNumber
    attempt: Attempt
    changed_at: Timestamp
    """When its node found so."""


class JobTaskUnready(JobEvent):
    """A task of a service runs and may not be called any more."""

    node_id: Identifier
    task: TaskNumber
    attempt: Attempt
    changed_at: Timestamp
    """When its node found so."""
    reason: Annotated[str, Field(max_length=MAX_READINESS_REASON)] = ""


class JobExited(JobEvent):
    """Processes of these tasks are gone. What follows (success, retry, failure) is in the next events."""

    node_id: OptionalIdentifier = ""
    tasks: tuple[TaskExit, ...]
    completed: TaskRanges | None = None
    """Of these, the ones that ended for good, successfully."""
    failed: TaskRanges | None = None
    """The ones that failed for good."""
    cancelled: TaskRanges | None = None
    """The ones that a cancel stopped. The rest is run again (`JobQueued` follows)."""


class JobOutputsKept(JobEvent):
    """The files of these attempts that the job keeps are in the object store, or never will be. Comes behind their
    `JobExited`, and often behind the job's end."""

    node_id: Identifier
    tasks: tuple[TaskOutputs, ...]


class JobCancelRequested(JobEvent):
    """A user wants these tasks stopped; scheduling and resources carry it out."""

    project: ProjectName
    queue: Identifier
    tasks: TaskRanges
    grace_seconds: float = Field(ge=0)
    reason: str = ""
    requested_by: str = ""


class JobTasksCancelled(JobEvent):
    """Tasks that had no process were cancelled (they were pending or queued)."""

    tasks: TaskRanges
    reason: str = ""


class TaskCounts(Model):
    """How many tasks ended how."""

    total: int = Field(ge=1, le=MAX_ARRAY_TASKS)
    completed: int = Field(default=0, ge=0, le=MAX_ARRAY_TASKS)
    failed: int = Field(default=0, ge=0, le=MAX_ARRAY_TASKS)
    cancelled: int = Field(default=0, ge=0, le=MAX_ARRAY_TASKS)


class JobEnded(JobEvent):
    """What the three terminal events share; every task has ended for good."""

    project: ProjectName
    counts: TaskCounts
    exit_code: int = Field(ge=0, le=255)
    """What `forgelog run` exits with: the first failing task's code, 128 + signal, or 0."""
    reason: str = ""


class JobCompleted(JobEnded):
    """Every task exited with 0."""


class JobFailed(JobEnded):
    """At least one task failed and its restart policy allows no further attempt."""


class JobCancelled(JobEnded):
    """Cancelled before every task had completed, and none failed."""


class DependencyRequested(JobEvent):
    """This job waits for `dependency`, which answers with `DependencyResolved` when it has ended."""

    dependency: Identifier
    kind: DependencyKind


class DependentRegistered(JobEvent):
    """This job will tell `dependent` when it ends."""

    dependent: Identifier


class DependencyOutcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """There is no such job."""


class DependencyResolved(JobEvent):
    """This job has ended (or never was); `dependent` may go on or never will."""

    dependent: Identifier
    outcome: DependencyOutcome


class DependencyMet(JobEvent):
    """One of this job's dependencies holds."""

    dependency: Identifier
    outcome: DependencyOutcome
