"""The models of the rows of jobs: columns and initial values. The folds are in `services.jobs.projections`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel

from events.language.jobs.spec import JobPriority, JobStatus
from events.projections.row_models import Int4, table_of
from services.jobs.rendering import render_job

Number = Annotated[int, Int4]


class JobRow(BaseModel):
    """A job, with a counter for each status that its tasks reach (`services.jobs.rendering.COUNTED`)."""

    job_id: str
    project: str
    owner: str
    name: str
    queue: str
    priority: JobPriority
    priority_weight: Number
    status: JobStatus = JobStatus.PENDING
    labels: dict[str, str]
    tasks: Number
    tasks_pending: Number
    tasks_queued: Number = 0
    tasks_scheduled: Number = 0
    tasks_running: Number = 0
    tasks_completed: Number = 0
    tasks_failed: Number = 0
    tasks_cancelled: Number = 0
    tasks_ready: Number = 0
    default_status: JobStatus = JobStatus.PENDING
    default_attempt: Number = 0
    attempts: Number = 0
    restarts: Number = 0
    cancel_requested: bool = False
    node_id: str = ""
    exit_code: Number | None = None
    reason: str = ""
    waits_for: str = ""
    submitted_at: datetime
    queued_at: datetime | None = None
    not_before: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime


class SpecRow(BaseModel):
    """A rendered spec; a spec never changes."""

    job_id: str
    view: bytes


class TaskRow(BaseModel):
    """A task with events of its own. One without a row has the job's `default_status` and `default_attempt`."""

    job_id: str
    task: Number
    status: JobStatus
    attempt: Number
    node_id: str = ""
    allocation_id: str = ""
    pid: Number | None = None
    gpus: list[Any] = []
    address: str = ""
    ports: dict[str, Any] = {}
    ready: bool | None = None
    """None unless it is a running task of a service."""
    unready_reason: str = ""
    readiness_changed_at: datetime | None = None
    exit_code: Number | None = None
    signal: Number | None = None
    exit_reason: str | None = None
    message: str = ""
    cpu_seconds: float | None = None
    max_rss_bytes: int | None = None
    queued_at: datetime | None
    not_before: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class AttemptRow(BaseModel):
    """An attempt that has started or ended. Rows of earlier attempts keep their exit codes and signals."""

    job_id: str
    task: Number
    attempt: Number
    node_id: str
    allocation_id: str
    pid: Number | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: Number | None = None
    signal: Number | None = None
    exit_reason: str | None = None
    message: str | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    gpu_seconds: float | None = None
    stdout_bytes: int | None = None
    stdout_digest: str | None = None
    stderr_bytes: int | None = None
    stderr_digest: str | None = None


JOBS = table_of(
    JobRow,
    "jobs",
    key=("job_id",),
    indexes=("submitted_at desc, job_id desc", "status, submitted_at desc, job_id desc", "queue, status", "owner"),
    rendered={"view": render_job},
    born="submitted_at",
)
SPECS = table_of(SpecRow, "specs", key=("job_id",))
TASKS = table_of(TaskRow, "tasks", key=("job_id", "task"))
ATTEMPTS = table_of(AttemptRow, "attempts", key=("job_id", "task", "attempt"))
