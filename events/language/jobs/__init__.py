"""The language of jobs: a job is one or more tasks (an array), and attempts on nodes run each task.

`spec` and its kin describe a job; `commands`, `events`, `models` and `moves` are its life.
"""

from __future__ import annotations

from events.language.jobs.commands import (
    CancelJob,
    JobCommand,
    ReportJobExited,
    ReportJobOutputs,
    ReportJobStarted,
    RequeueJob,
    SubmitJob,
)
from events.language.jobs.events import (
    MAX_REASON,
    DependencyMet,
    DependencyOutcome,
    DependencyRequested,
    DependencyResolved,
    DependentRegistered,
    JobAssigned,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobEnded,
    JobEvent,
    JobExited,
    JobFailed,
    JobOutputsKept,
    JobQueued,
    JobRequeued,
    JobStarted,
    JobSubmitted,
    JobTasksCancelled,
    TaskCounts,
)
from events.language.jobs.models import ExitReason, OutputDigests, TaskExit, TaskOutputs, TaskStart, TaskUsage

__all__ = [
    "MAX_REASON",
    "CancelJob",
    "DependencyMet",
    "DependencyOutcome",
    "DependencyRequested",
    "DependencyResolved",
    "DependentRegistered",
    "ExitReason",
    "JobAssigned",
    "JobCancelRequested",
    "JobCancelled",
    "JobCommand",
    "JobCompleted",
    "JobEnded",
    "JobEvent",
    "JobExited",
    "JobFailed",
    "JobOutputsKept",
    "JobQueued",
    "JobRequeued",
    "JobStarted",
    "JobSubmitted",
    "JobTasksCancelled",
    "OutputDigests",
    "ReportJobExited",
    "ReportJobOutputs",
    "ReportJobStarted",
    "RequeueJob",
    "SubmitJob",
    "TaskCounts",
    "TaskExit",
    "TaskOutputs",
    "TaskStart",
    "TaskUsage",
]
