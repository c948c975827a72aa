"""A job's whole life, as pure decisions: submit, wait for others, queue, start, exit, restart, cancel, end.

Knows the language and the Job aggregate; nothing of Kafka, SQL or gRPC. Time and ids come with the `DecisionContext`.

    SubmitJob ─► JobSubmitted ─► (dependencies hold) JobQueued ─► [scheduling, resources] ─► JobAssigned
      ─► (agent) JobStarted ─► (agent) JobExited ─► JobQueued again, or JobCompleted / JobFailed / JobCancelled
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from events.language.base import Command, Event
from events.language.common import ErrorCode, FieldError, Refused, invalid
from events.language.jobs import (
    MAX_REASON,
    CancelJob,
    DependencyMet,
    DependencyRequested,
    DependencyResolved,
    DependentRegistered,
    ExitReason,
    JobAssigned,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
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
    ReportJobExited,
    ReportJobOutputs,
    ReportJobStarted,
    ReportTaskReadiness,
    RequeueJob,
    SubmitJob,
    TaskExit,
    TaskStart,
)
from events.language.jobs.spec import DependencyKind, JobStatus
from events.language.resources import AllocationBound, AllocationReleased, ReleaseReason
from events.language.scheduling import JobDequeued
from events.language.task_ranges import format_ranges
from events.writer.decider import Decider, DecisionContext
from services.jobs import dumps, fold
from services.jobs.dependencies import answered, ask, asked
from services.jobs.ending import answer_next, conclude
from services.jobs.outputs import outputs_kept
from services.jobs.queueing import queued
from services.jobs.readiness import readiness_changed
from services.jobs.refusals import check_range, check_reserved, known, stale_report, unknown_attempt
from services.jobs.restart import Fate, Verdict, judge
from services.jobs.state import ENDED_CODES, Job, exit_code_of, failure_of

_WAITING = frozenset({JobStatus.QUEUED})
_PLACED = frozenset({JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.STARTING})
_GONE = _PLACED | {JobStatus.RUNNING, JobStatus.CHECKPOINTING, JobStatus.PAUSED, JobStatus.MIGRATING}


class Jobs(Decider[Job]):
    """The decider of jobs; its key is the job id."""

    context = "jobs"
    aggregate = "job"
    dump_version = 6
    commands = (
        SubmitJob,
        CancelJob,
        RequeueJob,
        ReportJobStarted,
        ReportTaskReadiness,
        ReportJobExited,
        ReportJobOutputs,
    )
    events = (
        JobSubmitted,
        JobQueued,
        JobRequeued,
        JobAssigned,
        JobStarted,
        JobTaskReady,
        JobTaskUnready,
        JobExited,
        JobOutputsKept,
        JobCancelRequested,
        JobTasksCancelled,
        JobCompleted,
        JobFailed,
        JobCancelled,
        DependencyRequested,
        DependentRegistered,
        DependencyResolved,
        DependencyMet,
    )
    routes: ClassVar = {
        DependencyRequested: lambda event: (event.dependency,),
        DependencyResolved: lambda event: (event.dependent, event.job_id),
        JobDequeued: lambda event: (event.job_id,),
        AllocationBound: lambda event: (event.job_id,),
        AllocationReleased: lambda event: (event.job_id,) if event.reason is ReleaseReason.NODE_LOST else (),
    }

    def initial(self, key: str) -> Job:
        return Job(key)

    def evolve(self, state: Job, event: Event, time: datetime) -> Job:
        return fold.evolve(state, event, time)

    def may_passivate(self, state: Job) -> bool:
        return state.ended is not None

    def dump(self, state: Job) -> dict[str, Any]:
        return dumps.dump(state)

    def load(self, key: str, data: dict[str, Any]) -> Job:
        return dumps.load(key, data)

    def decide(self, state: Job, command: Command, context: DecisionContext) -> Sequence[Event]:
        match command:
            case SubmitJob():
                return submit(state, command, context)
            case CancelJob():
                return cancel(known(state), command, context)
            case RequeueJob():
                return requeue(known(state), command, context)
            case ReportJobStarted():
                return started(known(state), command)
            case ReportTaskReadiness():
                return readiness_changed(known(state), command)
            case ReportJobExited():
                return exited(known(state), command, context)
            case ReportJobOutputs():
                return outputs_kept(known(state), command)
        raise TypeError(f"jobs takes no {type(command).__name__}")

    def react(self, state: Job, event: Event, context: DecisionContext) -> Sequence[Event]:
        match event:
            case DependencyRequested():
                return asked(state, event)
            case DependencyResolved() if event.dependent == state.job_id:
                return answered(state, event)
            case DependencyResolved():
                return answer_next(state)
            case _ if not state.submitted:
                return ()
            case JobDequeued():
                return dequeued(state, event)
            case AllocationBound():
                return bound(state, event)
            case AllocationReleased():
                return lost(state, event, context)
        return ()


# Submit


def submit(job: Job, command: SubmitJob, context: DecisionContext) -> Sequence[Event]:
    spec = command.spec
    check_reserved(command.job_id, context)
    if job.submitted:
        problem = f"there is a job {job.job_id!r} already"
        error = FieldError(field="job_id", problem=problem, hint="leave job_id out to have one assigned")
        raise Refused(ErrorCode.ALREADY_EXISTS, problem, [error])
    folder = spec.environment.working_directory
    if folder and not folder.startswith("/"):
        hint = "write the whole path of the folder on the node, such as /data/run, or leave it out"
        raise invalid("spec.environment.working_directory", f"{folder!r} is not an absolute path", hint)
    if folder and spec.environment.bundle is not None:
        hint = "leave working_directory out: the task runs in its copy of the uploaded folder"
        raise invalid("spec.environment.bundle", "goes with no working_directory", hint)
    wanted: dict[str, DependencyKind] = {}
    for index, dependency in enumerate(spec.depends_on):
        if dependency.job_id == command.job_id:
            raise invalid(f"spec.depends_on.{index}.job_id", "a job can't depend on itself", "name another job")
        if dependency.job_id in wanted:
            hint = "name each job once"
            raise invalid(f"spec.depends_on.{index}.job_id", f"{dependency.job_id!r} is named twice", hint)
        wanted[dependency.job_id] = dependency.kind
    submitted = JobSubmitted(job_id=command.job_id, project=context.project, owner=context.actor, spec=spec)
    if wanted:
        return [submitted, *ask(command.job_id, wanted)]
    size = spec.array.size if spec.array else 1
    identity = Job(command.job_id, context.project, context.actor, submitted_at=context.now)
    return [submitted, queued(identity, spec, range(size), 1)]


# Placement and reports


def bound(job: Job, event: AllocationBound) -> Sequence[Event]:
    """React to an allocation for tasks of this job that was bound to a node."""
    tasks = [
        task for task in job.tasks(event.tasks) if job.attempts[task] == event.attempt and job.status(task) in _WAITING
    ]
    if not tasks:
        return ()
    return [
        JobAssigned(
            job_id=job.job_id,
            node_id=event.node_id,
            allocation_id=event.allocation_id,
            tasks=format_ranges(tasks),
            attempt=event.attempt,
        )
    ]


def started(job: Job, command: ReportJobStarted) -> Sequence[Event]:
    """The report of processes that run. Of a task that it names twice, the first counts."""
    news: dict[int, TaskStart] = {}
    stale = []
    for start in command.tasks:
        if start.task >= job.size or start.attempt > job.attempts[start.task]:
            raise unknown_attempt(job, start.task, start.attempt)
        if start.attempt == job.attempts[start.task] and job.status(start.task) in _PLACED:
            news.setdefault(start.task, start)
        elif not (start.attempt == job.attempts[start.task] and job.status(start.task) is JobStatus.RUNNING):
            stale.append(start)
    if stale and not news:
        raise stale_report(job, "started", [(start.task, start.attempt) for start in stale])
    return [JobStarted(job_id=job.job_id, node_id=command.node_id, tasks=tuple(news.values()))] if news else ()


def exited(job: Job, command: ReportJobExited, context: DecisionContext) -> Sequence[Event]:
    """The report of processes that are gone. Of a task that it names twice, the first counts."""
    news: dict[int, TaskExit] = {}
    for exit in command.tasks:
        if exit.task >= job.size or exit.attempt > job.attempts[exit.task]:
            raise unknown_attempt(job, exit.task, exit.attempt)
        if exit.attempt == job.attempts[exit.task] and job.status(exit.task) in _GONE:
            news.setdefault(exit.task, exit)
    if not news:
        # An agent reports an exit until it is acknowledged, so a second report of it is a repeat, not an error.
        return ()
    return _end_attempts(job, command.node_id, list(news.values()), context)


def lost(job: Job, event: AllocationReleased, context: DecisionContext) -> Sequence[Event]:
    """React to the loss of a node that ran tasks of this job."""
    exits = [
        TaskExit(
            task=task,
            attempt=event.attempt,
            allocation_id=event.allocation_id,
            reason=ExitReason.LOST,
            message=f"node {event.node_id} was lost",
            ended_at=context.now,
        )
        for task in job.tasks(event.tasks)
        if job.attempts[task] == event.attempt and job.status(task) in _GONE
    ]
    return _end_attempts(job, event.node_id, exits, context) if exits else ()


def _end_attempts(job: Job, node_id: str, exits: list[TaskExit], context: DecisionContext) -> Sequence[Event]:
    """End attempts: judge each, queue the tasks that run again, and end the job if they were the last."""
    spec = job.spec
    assert spec is not None
    by_fate: dict[Fate, list[int]] = {fate: [] for fate in Fate}
    again: dict[tuple[int, Verdict], list[int]] = {}
    failure: TaskExit | None = None
    for exit in exits:
        before = job.restarts[exit.task], job.interruptions.get(exit.task, 0)
        if job.steady(exit.task, exit.ended_at):
            before = 0, 0
        verdict = judge(spec.scheduling.restart, exit, *before, exit.task in job.cancelling)
        by_fate[verdict.fate].append(exit.task)
        if verdict.fate is Fate.AGAIN:
            again.setdefault((exit.attempt + 1, verdict), []).append(exit.task)
        elif verdict.fate is Fate.FAILED:
            failure = failure or exit
    events: list[Event] = [
        JobExited(
            job_id=job.job_id,
            node_id=node_id,
            tasks=tuple(exits),
            completed=format_ranges(by_fate[Fate.COMPLETED]) or None,
            failed=format_ranges(by_fate[Fate.FAILED]) or None,
            cancelled=format_ranges(by_fate[Fate.CANCELLED]) or None,
        )
    ]
    for (attempt, verdict), tasks in again.items():
        not_before = context.now + timedelta(seconds=verdict.delay) if verdict.delay else None
        events.append(
            queued(job, spec, tasks, attempt, not_before=not_before, reason=verdict.reason, counted=verdict.counted)
        )
    events += conclude(
        job,
        completed=by_fate[Fate.COMPLETED],
        failed=by_fate[Fate.FAILED],
        cancelled=by_fate[Fate.CANCELLED],
        exit_code=exit_code_of(failure) if failure else 0,
        failure=failure_of(job, failure) if failure else "",
    )
    return events


# Cancel and requeue


def cancel(job: Job, command: CancelJob, context: DecisionContext) -> Sequence[Event]:
    spec = job.spec
    assert spec is not None
    check_range(job, command.tasks)
    tasks = [
        task
        for task in job.tasks(command.tasks)
        if job.statuses[task] not in ENDED_CODES and task not in job.cancelling
    ]
    if not tasks:
        return ()
    reason = command.reason or f"cancelled by {context.actor}"
    pending = [task for task in tasks if job.status(task) is JobStatus.PENDING]
    rest = [task for task in tasks if job.status(task) is not JobStatus.PENDING]
    events: list[Event] = []
    if rest:
        events.append(
            JobCancelRequested(
                job_id=job.job_id,
                project=job.project,
                queue=spec.queue,
                tasks=format_ranges(rest),
                grace_seconds=spec.scheduling.grace_seconds,
                reason=reason,
                requested_by=context.actor,
            )
        )
    if pending:
        events.append(JobTasksCancelled(job_id=job.job_id, tasks=format_ranges(pending), reason=reason))
        events += conclude(job, cancelled=pending, reason=reason)
    return events


def dequeued(job: Job, event: JobDequeued) -> Sequence[Event]:
    """React to tasks that scheduling took out of the queue: they will not run."""
    tasks = [
        task
        for task in job.tasks(event.tasks)
        if job.status(task) in _PLACED and (not event.attempt or job.attempts[task] == event.attempt)
    ]
    if not tasks:
        return ()
    cancelled = JobTasksCancelled(job_id=job.job_id, tasks=format_ranges(tasks), reason=event.reason)
    return [cancelled, *conclude(job, cancelled=tasks, reason=event.reason)]


def requeue(job: Job, command: RequeueJob, context: DecisionContext) -> Sequence[Event]:
    spec = job.spec
    assert spec is not None
    check_reserved(job.job_id, context)
    if job.ended is None:
        problem = f"job {job.job_id} has not ended; only an ended job can be requeued"
        error = FieldError(field="job_id", problem=problem, hint="cancel it first, or wait")
        raise Refused(ErrorCode.FAILED_PRECONDITION, problem, [error])
    check_range(job, command.tasks)
    again = {JobStatus.FAILED, JobStatus.CANCELLED}
    by_attempt: dict[int, list[int]] = {}
    for task in job.tasks(command.tasks):
        if job.status(task) in again:
            by_attempt.setdefault(job.attempts[task] + 1, []).append(task)
    if not by_attempt:
        problem = f"no task of job {job.job_id} that was named has failed or was cancelled"
        raise Refused(ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="tasks", problem=problem)])
    reason = f"requeued by {context.actor}" + (f": {command.reason}" if command.reason else "")
    if job.waiting:
        tasks = format_ranges(task for some in by_attempt.values() for task in some)
        requeued = JobRequeued(job_id=job.job_id, tasks=tasks, reason=reason[:MAX_REASON])
        return [requeued, *ask(job.job_id, job.waiting)]
    return [queued(job, spec, tasks, attempt, reason=reason) for attempt, tasks in sorted(by_attempt.items())]
