"""How events change a job. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any

from events.language.base import Event
from events.language.jobs import (
    DependencyMet,
    DependencyRequested,
    DependencyResolved,
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
    JobTaskReady,
    JobTasksCancelled,
    JobTaskUnready,
)
from events.language.jobs.spec import JobStatus
from events.language.task_ranges import tasks_in
from events.log.json_members import member_json
from services.jobs.state import ENDED_CODES, NOTHING, Job, Readiness, exit_code_of, failure_of

_ZERO = array("L", [0])


def evolve(job: Job, event: Event, time: datetime) -> Job:
    """The job after one of its events. Changes `job` in place."""
    match event:
        case JobSubmitted():
            size = event.spec.array.size if event.spec.array else 1
            job.project, job.owner, job.submitted_at = event.project, event.owner, time
            job.spec_json = member_json(event, "spec")
            job.unbounded = event.spec.scheduling.restart.max_restarts is None
            job.statuses = bytearray(size)
            job.attempts, job.restarts = _ZERO * size, _ZERO * size
        case JobQueued():
            _queued(job, event)
        case JobRequeued():
            job.move(tasks_in(event.tasks), JobStatus.PENDING)
            job.ended, job.exit_code, job.failure = None, 0, ""
        case JobAssigned():
            job.move(tasks_in(event.tasks), JobStatus.SCHEDULED)
        case JobStarted():
            job.move((start.task for start in event.tasks), JobStatus.RUNNING)
            if job.unbounded:
                job.up_since = {**job.up_since, **{start.task: start.started_at for start in event.tasks}}
        case JobTaskReady() | JobTaskUnready():
            readiness = Readiness(isinstance(event, JobTaskReady), event.changed_at)
            job.readiness = {**job.readiness, event.task: readiness}
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
        case DependencyRequested():
            job.waiting = {**job.waiting, event.dependency: event.kind}
        case DependencyMet():
            job.waiting = {other: kind for other, kind in job.waiting.items() if other != event.dependency}
        case DependentRegistered():
            _own_dependents(job).add(event.dependent)
        case DependencyResolved() if event.dependent in job.dependents:
            _own_dependents(job).remove(event.dependent)
    return job


_ENDINGS = {JobCompleted: JobStatus.COMPLETED, JobFailed: JobStatus.FAILED, JobCancelled: JobStatus.CANCELLED}


def _own_dependents(job: Job) -> set[str]:
    """As a set to be changed: they may be thousands, and come and go one by one."""
    if not isinstance(job.dependents, set):
        job.dependents = set(job.dependents)
    return job.dependents


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


def _without(by_task: Mapping[int, Any], tasks: Set[int]) -> Mapping[int, Any]:
    """The same mapping if it has none of them."""
    if by_task.keys().isdisjoint(tasks):
        return by_task
    return {task: value for task, value in by_task.items() if task not in tasks} or NOTHING


def _stopped(job: Job, ranges: str) -> None:
    if job.cancelling:
        job.cancelling = job.cancelling - set(tasks_in(ranges))


def _exited(job: Job, event: JobExited) -> None:
    if job.up_since or job.readiness:
        gone = {exit.task for exit in event.tasks}
        steady = {exit.task for exit in event.tasks if job.steady(exit.task, exit.ended_at)}
        for task in steady:
            job.restarts[task] = 0
        job.interruptions = _without(job.interruptions, steady)
        job.up_since, job.readiness = _without(job.up_since, gone), _without(job.readiness, gone)
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
