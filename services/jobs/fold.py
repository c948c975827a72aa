"""How events change a job. Pure."""

from __future__ import annotations

from array import array
from datetime import datetime

from events.language.base import Event
from events.language.jobs import (
    DependencyMet,
    DependencyRequested,
    DependentRegistered,
    JobAssigned,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobEnded,
    JobExited,
    JobFailed,
    JobOutputsKept,
    JobQueued,
    JobRequeued,
    JobStarted,
    JobSubmitted,
    JobTasksCancelled,
)
from events.language.jobs.spec import JobStatus
from events.language.task_ranges import tasks_in
from services.jobs.state import ENDED_CODES, ITEM_BYTES, NOTHING, Job, exit_code_of, failure_of


def evolve(job: Job, event: Event, time: datetime) -> Job:
    """The job after one of its events. Changes `job` in place."""
    match event:
        case JobSubmitted():
            size = event.spec.array.size if event.spec.array else 1
            job.project, job.owner, job.submitted_at = event.project, event.owner, time
            job.spec_json = event.spec.to_json()
            job.statuses = bytearray(size)
            job.attempts = array("L", bytes(size * ITEM_BYTES))
            job.restarts = array("L", bytes(size * ITEM_BYTES))
        case JobQueued():
            _queued(job, event)
        case JobRequeued():
            job.move(tasks_in(event.tasks), JobStatus.PENDING)
            job.ended, job.exit_code, job.failure = None, 0, ""
        case JobAssigned():
            job.move(tasks_in(event.tasks), JobStatus.SCHEDULED)
        case JobStarted():
            job.move((start.task for start in event.tasks), JobStatus.RUNNING)
        case JobExited():
            _exited(job, event)
        case JobOutputsKept():
            outputs = job.outputs if isinstance(job.outputs, set) else set()
            outputs.update((each.task, each.attempt) for each in event.tasks)
            job.outputs = outputs
        case JobCancelRequested():
            job.cancelling = job.cancelling | set(tasks_in(event.tasks))
        case JobTasksCancelled():
            job.move(tasks_in(event.tasks), JobStatus.CANCELLED)
            _stopped(job, event.tasks)
        case JobEnded():
            job.ended = _ENDINGS[type(event)]
            job.exit_code = event.exit_code
            job.cancelling = frozenset()
            job.dependents = frozenset()
        case DependencyRequested():
            job.waiting = {**job.waiting, event.dependency: event.kind}
        case DependencyMet():
            job.waiting = {other: kind for other, kind in job.waiting.items() if other != event.dependency}
        case DependentRegistered():
            job.dependents = job.dependents | {event.dependent}
    return job


_ENDINGS = {JobCompleted: JobStatus.COMPLETED, JobFailed: JobStatus.FAILED, JobCancelled: JobStatus.CANCELLED}


def _queued(job: Job, event: JobQueued) -> None:
    interruptions = dict(job.interruptions) if job.interruptions else {}
    tasks = tuple(tasks_in(event.tasks))
    for task in tasks:
        if job.statuses[task] in ENDED_CODES:  # requeued by a user; a restart by policy does not end the task first
            job.restarts[task] = 0
            interruptions.pop(task, None)
        elif event.counted:
            job.restarts[task] += 1
        elif event.attempt > 1:
            interruptions[task] = interruptions.get(task, 0) + 1
        job.attempts[task] = event.attempt
    job.move(tasks, JobStatus.QUEUED)
    job.interruptions = interruptions or NOTHING
    if job.ended is not None:
        job.ended = None
        job.exit_code = 0
        job.failure = ""


def _stopped(job: Job, ranges: str) -> None:
    if job.cancelling:
        job.cancelling = job.cancelling - set(tasks_in(ranges))


def _exited(job: Job, event: JobExited) -> None:
    for ranges, status in (
        (event.completed, JobStatus.COMPLETED),
        (event.failed, JobStatus.FAILED),
        (event.cancelled, JobStatus.CANCELLED),
    ):
        if ranges is not None:
            job.move(tasks_in(ranges), status)
            _stopped(job, ranges)
    if event.failed is not None and job.exit_code == 0:
        failed = set(tasks_in(event.failed))
        first = next(exit for exit in event.tasks if exit.task in failed)
        job.exit_code, job.failure = exit_code_of(first), failure_of(job, first)
