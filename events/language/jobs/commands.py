"""Commands of jobs. An attempt is numbered from 1; a report names the attempt it is about, so that a late report of an
earlier attempt is never taken for news of the present one.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Command
from events.language.common import (
    Identifier,
    OptionalIdentifier,
)
from events.language.jobs.models import TaskExit, TaskOutputs, TaskReadiness, TaskStart
from events.language.jobs.spec import JobSpec
from events.language.task_ranges import TaskRanges


class JobCommand(Command):
    context: ClassVar[str] = "jobs"
    aggregate: ClassVar[str] = "job"
    subject_from: ClassVar[str] = "job_id"
    key_from: ClassVar[str] = "job_id"


class SubmitJob(JobCommand):
    """Accept a job. An empty `job_id` is assigned from the command's id."""

    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "j"

    job_id: OptionalIdentifier = ""
    spec: JobSpec


class CancelJob(JobCommand):
    """Stop a job, or some of its tasks; queued tasks never start, running ones get TERM, grace, KILL."""

    job_id: Identifier
    tasks: TaskRanges | None = None
    """Which tasks; all when left out."""
    reason: Annotated[str, Field(max_length=500)] = ""


class RequeueJob(JobCommand):
    """Run the failed or cancelled tasks of an ended job again, as new attempts."""

    job_id: Identifier
    tasks: TaskRanges | None = None
    """Which tasks; every failed or cancelled one when left out."""
    reason: Annotated[str, Field(max_length=500)] = ""


class ReportJobStarted(JobCommand):
    """From the node agent: processes of this job are running."""

    by_agents: ClassVar[bool] = True

    job_id: Identifier
    node_id: Identifier
    tasks: tuple[TaskStart, ...] = Field(min_length=1, max_length=10_000)


class ReportTaskReadiness(JobCommand):
    """From the node agent: these tasks of a service may be called from now on, or may not."""

    by_agents: ClassVar[bool] = True

    job_id: Identifier
    node_id: Identifier
    tasks: tuple[TaskReadiness, ...] = Field(min_length=1, max_length=10_000)


class ReportJobExited(JobCommand):
    """From the node agent: processes of this job are gone."""

    by_agents: ClassVar[bool] = True

    job_id: Identifier
    node_id: Identifier
    tasks: tuple[TaskExit, ...] = Field(min_length=1, max_length=10_000)


class ReportJobOutputs(JobCommand):
    """From the node agent: the files of these tasks that the job keeps are in the object store, or never will be."""

    by_agents: ClassVar[bool] = True

    job_id: Identifier
    node_id: Identifier
    tasks: tuple[TaskOutputs, ...] = Field(min_length=1, max_length=10_000)
