"""A job's whole life, as pure decisions: submit, wait for others, queue, start, exit, restart, cancel, end.

Knows the language and the Job aggregate; nothing of Kafka, SQL or gRPC. Time and ids come with the `Context`.

    SubmitJob ─► JobSubmitted ─► (dependencies hold) JobQueued ─► [scheduling, resources] ─► JobAssigned
      ─► (agent) JobStarted ─► (agent) JobExited ─► JobQueued again, or JobCompleted / JobFailed / JobCancelled
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from events.language.base import Command, Event
from events.language.common import ErrorCode, FieldError, Refused, format_ranges, tasks_in
from events.language.jobs import (
    CancelJob,
    DependencyMet,
    DependencyOutcome,
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
    JobQueued,
    JobStarted,
    JobSubmitted,
    JobTasksCancelled,
    ReportJobExited,
    ReportJobStarted,
    RequeueJob,
    SubmitJob,
    TaskCounts,
    TaskExit,
)
from events.language.jobspec import DependencyKind, JobLaunch, JobSpec, JobStatus, QueueRequest
from events.language.planned import refuse_planned
from events.language.resources import AllocationBound, AllocationReleased, ReleaseReason
from events.language.scheduling import JobDequeued
from events.runtime.decider import Context, Decider
from services.jobs import state as jobs
from services.jobs.restart import Fate, Verdict, judge
from services.jobs.state import CANCELLED_EXIT_CODE, ENDED_CODES, Job, exit_code_of

_WAITING = frozenset({JobStatus.QUEUED})
_PLACED = frozenset({JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.STARTING})
_GONE = _PLACED | {JobStatus.RUNNING, JobStatus.CHECKPOINTING, JobStatus.PAUSED, JobStatus.MIGRATING}


class Jobs(Decider[Job]):
    """The decider of the jobs context; its key is the job id."""

    context = "jobs"
    commands = (SubmitJob, CancelJob, RequeueJob, ReportJobStarted, ReportJobExited)
    events = (
        JobSubmitted,
        JobQueued,
        JobAssigned,
        JobStarted,
        JobExited,
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
        DependencyResolved: lambda event: (event.dependent,),
        JobDequeued: lambda event: (event.job_id,),
        AllocationBound: lambda event: (event.job_id,),
        AllocationReleased: lambda event: (event.job_id,) if event.reason is ReleaseReason.NODE_LOST else (),
    }

    def initial(self, key: str) -> Job:
        return Job(key)

    def evolve(self, state: Job, event: Event, time: datetime) -> Job:
        return jobs.evolve(state, event, time)

    def dump(self, state: Job) -> dict[str, Any]:
        return jobs.dump(state)

    def load(self, key: str, data: dict[str, Any]) -> Job:
        return jobs.load(key, data)

    def decide(self, state: Job, command: Command, context: Context) -> Sequence[Event]:
        match command:
            case SubmitJob():
                return submit(state, command, context)
            case CancelJob():
                return cancel(known(state), command, context)
            case RequeueJob():
                return requeue(known(state), command, context)
            case ReportJobStarted():
                return started(known(state), command)
            case ReportJobExited():
                return exited(known(state), command, context)
        raise TypeError(f"jobs takes no {type(command).__name__}")

    def react(self, state: Job, event: Event, context: Context) -> Sequence[Event]:
        match event:
            case DependencyRequested():
                return asked(state, event)
            case DependencyResolved():
                return answered(state, event)
            case _ if state.spec is None:
                return ()
            case JobDequeued():
                return dequeued(state, event)
            case AllocationBound():
                return bound(state, event)
            case AllocationReleased():
                return lost(state, event, context)
        return ()


def known(job: Job) -> Job:
    """The job, if there is one."""
    if job.spec is None:
        raise Refused(
            ErrorCode.NOT_FOUND,
            f"there is no job {job.job_id!r}",
            [FieldError(field="job_id", problem=f"there is no job {job.job_id!r}", hint="`forgelog ps -a` lists jobs")],
        )
    return job


# Submit


def submit(job: Job, command: SubmitJob, context: Context) -> Sequence[Event]:
    spec = command.spec
    if job.spec is not None:
        problem = f"there is a job {job.job_id!r} already"
        error = FieldError(field="job_id", problem=problem, hint="leave job_id out to have one assigned")
        raise Refused(ErrorCode.ALREADY_EXISTS, problem, [error])
    refuse_planned(spec, "spec")
    wanted: dict[str, DependencyKind] = {}
    for index, dependency in enumerate(spec.depends_on):
        if dependency.job_id == command.job_id:
            raise _invalid(f"spec.depends_on.{index}.job_id", "a job can't depend on itself", "name another job")
        if dependency.job_id in wanted:
            hint = "name each job once"
            raise _invalid(f"spec.depends_on.{index}.job_id", f"{dependency.job_id!r} is named twice", hint)
        wanted[dependency.job_id] = dependency.kind
    submitted = JobSubmitted(job_id=command.job_id, project=context.project, owner=context.actor, spec=spec)
    if wanted:
        return [
            submitted,
            *(
                DependencyRequested(job_id=command.job_id, dependency=dependency, kind=kind)
                for dependency, kind in wanted.items()
            ),
        ]
    size = spec.array.size if spec.array else 1
    identity = Job(command.job_id, context.project, context.actor, spec, context.now)
    return [submitted, _queue(identity, spec, range(size), 1)]


def _invalid(field: str, problem: str, hint: str) -> Refused:
    return Refused(
        ErrorCode.INVALID_ARGUMENT, f"{field}: {problem}", [FieldError(field=field, problem=problem, hint=hint)]
    )


def _queue(
    job: Job,
    spec: JobSpec,
    tasks: Iterable[int],
    attempt: int,
    *,
    not_before: datetime | None = None,
    reason: str = "",
    counted: bool = False,
) -> JobQueued:
    """Tasks become ready, with the cuts of the spec that scheduling and the agents need."""
    submitted_at = job.submitted_at
    assert submitted_at is not None
    return JobQueued(
        job_id=job.job_id,
        project=job.project,
        owner=job.owner,
        tasks=format_ranges(tasks),
        attempt=attempt,
        not_before=not_before,
        reason=reason[:500],
        counted=counted,
        request=QueueRequest(
            queue=spec.queue,
            priority=spec.priority,
            submitted_at=submitted_at,
            name=spec.metadata.name,
            labels=dict(spec.metadata.labels),
            resources=spec.resources,
            scheduling=spec.scheduling,
            max_parallel=spec.array.max_parallel if spec.array else None,
        ),
        launch=JobLaunch(
            name=spec.metadata.name,
            command=spec.command,
            args=spec.args,
            environment=spec.environment,
            array_size=spec.array.size if spec.array else 1,
            grace_seconds=spec.scheduling.grace_seconds,
            max_runtime_seconds=spec.scheduling.max_runtime_seconds,
        ),
    )


# Dependencies: the job that is waited for answers in its own history, so no one needs a view of all jobs


def asked(job: Job, event: DependencyRequested) -> Sequence[Event]:
    """Another job (`event.job_id`) waits for this one."""
    dependent = event.job_id
    if job.spec is not None and job.ended is None:
        if dependent in job.dependents:
            return ()
        return [DependentRegistered(job_id=job.job_id, dependent=dependent)]
    return [DependencyResolved(job_id=job.job_id, dependent=dependent, outcome=job.outcome())]


_HOLDS = {
    DependencyKind.AFTER_OK: frozenset({DependencyOutcome.COMPLETED}),
    DependencyKind.AFTER_NOT_OK: frozenset({DependencyOutcome.FAILED, DependencyOutcome.CANCELLED}),
    DependencyKind.AFTER_ANY: frozenset(
        {DependencyOutcome.COMPLETED, DependencyOutcome.FAILED, DependencyOutcome.CANCELLED}
    ),
}


def answered(job: Job, event: DependencyResolved) -> Sequence[Event]:
    """A job that this one waits for has ended, or never was."""
    kind = job.waiting.get(event.job_id)
    spec = job.spec
    if kind is None or spec is None or job.ended is not None:
        return ()
    if event.outcome in _HOLDS[kind]:
        met = DependencyMet(job_id=job.job_id, dependency=event.job_id, outcome=event.outcome)
        if len(job.waiting) > 1:
            return [met]
        ready = [task for task in range(job.size) if job.status(task) is JobStatus.PENDING]
        return [met, _queue(job, spec, ready, 1)] if ready else [met]
    if event.outcome is DependencyOutcome.UNKNOWN:
        reason = f"depends on job {event.job_id}, which does not exist; submit it first"
    else:
        reason = f"depends on job {event.job_id} {kind.value}, which has {event.outcome.value}"
    tasks = [task for task in range(job.size) if job.status(task) is JobStatus.PENDING]
    cancelled = JobTasksCancelled(job_id=job.job_id, tasks=format_ranges(tasks), reason=reason)
    return [cancelled, *_conclude(job, cancelled=tasks, reason=reason)]


# Placement and reports


def bound(job: Job, event: AllocationBound) -> Sequence[Event]:
    """Resources of a node were bound to tasks of this job."""
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
    news, stale = [], []
    for start in command.tasks:
        if start.task >= job.size or start.attempt > job.attempts[start.task]:
            raise _unknown_attempt(job, start.task, start.attempt)
        if start.attempt == job.attempts[start.task] and job.status(start.task) in _PLACED:
            news.append(start)
        elif not (start.attempt == job.attempts[start.task] and job.status(start.task) is JobStatus.RUNNING):
            stale.append(start)
    if stale and not news:
        raise _stale(job, "started", [(start.task, start.attempt) for start in stale])
    return [JobStarted(job_id=job.job_id, node_id=command.node_id, tasks=tuple(news))] if news else ()


def exited(job: Job, command: ReportJobExited, context: Context) -> Sequence[Event]:
    news, stale = [], []
    for exit in command.tasks:
        if exit.task >= job.size or exit.attempt > job.attempts[exit.task]:
            raise _unknown_attempt(job, exit.task, exit.attempt)
        if exit.attempt == job.attempts[exit.task] and job.status(exit.task) in _GONE:
            news.append(exit)
        else:
            stale.append(exit)
    if not news:
        # An exit is told until it is acknowledged: one that an attempt has had already is a repeat, not an error.
        return ()
    return _end_attempts(job, command.node_id, news, context)


def lost(job: Job, event: AllocationReleased, context: Context) -> Sequence[Event]:
    """A node was lost with tasks of this job."""
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


def _end_attempts(job: Job, node_id: str, exits: list[TaskExit], context: Context) -> Sequence[Event]:
    """Attempts are over: judge each, queue the ones that run again, end the job if they were the last."""
    spec = job.spec
    assert spec is not None
    by_fate: dict[Fate, list[int]] = {fate: [] for fate in Fate}
    again: dict[tuple[int, Verdict], list[int]] = {}
    exit_code = job.exit_code
    for exit in exits:
        verdict = judge(spec.scheduling.restart, exit, job.restarts[exit.task], exit.task in job.cancelling)
        by_fate[verdict.fate].append(exit.task)
        if verdict.fate is Fate.AGAIN:
            again.setdefault((exit.attempt + 1, verdict), []).append(exit.task)
        elif verdict.fate is Fate.FAILED and exit_code == 0:
            exit_code = exit_code_of(exit)
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
            _queue(job, spec, tasks, attempt, not_before=not_before, reason=verdict.reason, counted=verdict.counted)
        )
    events += _conclude(
        job,
        completed=by_fate[Fate.COMPLETED],
        failed=by_fate[Fate.FAILED],
        cancelled=by_fate[Fate.CANCELLED],
        exit_code=exit_code,
    )
    return events


def _unknown_attempt(job: Job, task: int, attempt: int) -> Refused:
    current = job.attempts[task] if task < job.size else 0
    problem = f"job {job.job_id} has no attempt {attempt} of task {task}; the current one is {current}"
    return Refused(ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="tasks", problem=problem)])


def _stale(job: Job, what: str, reports: list[tuple[int, int]]) -> Refused:
    task, attempt = reports[0]
    problem = (
        f"attempt {attempt} of task {task} can't have {what}: task {task} of job {job.job_id} is "
        f"{job.status(task).value} at attempt {job.attempts[task]}"
    )
    return Refused(ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="tasks", problem=problem)])


# Cancel and requeue


def cancel(job: Job, command: CancelJob, context: Context) -> Sequence[Event]:
    spec = job.spec
    assert spec is not None
    _check_range(job, command.tasks)
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
        events += _conclude(job, cancelled=pending, reason=reason)
    return events


def dequeued(job: Job, event: JobDequeued) -> Sequence[Event]:
    """Scheduling took tasks out of the queue: they will not run."""
    tasks = [
        task
        for task in job.tasks(event.tasks)
        if job.status(task) in _PLACED and (not event.attempt or job.attempts[task] == event.attempt)
    ]
    if not tasks:
        return ()
    cancelled = JobTasksCancelled(job_id=job.job_id, tasks=format_ranges(tasks), reason=event.reason)
    return [cancelled, *_conclude(job, cancelled=tasks, reason=event.reason)]


def requeue(job: Job, command: RequeueJob, context: Context) -> Sequence[Event]:
    spec = job.spec
    assert spec is not None
    if job.ended is None:
        problem = f"job {job.job_id} has not ended; only an ended job can be requeued"
        error = FieldError(field="job_id", problem=problem, hint="cancel it first, or wait")
        raise Refused(ErrorCode.FAILED_PRECONDITION, problem, [error])
    _check_range(job, command.tasks)
    again = {JobStatus.FAILED, JobStatus.CANCELLED}
    by_attempt: dict[int, list[int]] = {}
    for task in job.tasks(command.tasks):
        if job.status(task) in again:
            by_attempt.setdefault(job.attempts[task] + 1, []).append(task)
    if not by_attempt:
        problem = f"no task of job {job.job_id} that was named has failed or was cancelled"
        raise Refused(ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="tasks", problem=problem)])
    reason = f"requeued by {context.actor}"
    return [_queue(job, spec, tasks, attempt, reason=reason) for attempt, tasks in sorted(by_attempt.items())]


def _check_range(job: Job, ranges: str | None) -> None:
    if ranges is not None and (most := max(tasks_in(ranges))) >= job.size:
        problem = f"job {job.job_id} has no task {most}; its tasks are 0 to {job.size - 1}"
        raise Refused(ErrorCode.INVALID_ARGUMENT, problem, [FieldError(field="tasks", problem=problem)])


# The end


def _conclude(
    job: Job,
    *,
    completed: Sequence[int] = (),
    failed: Sequence[int] = (),
    cancelled: Sequence[int] = (),
    exit_code: int = 0,
    reason: str = "",
) -> list[Event]:
    """The job's terminal event, if these were the last tasks, and the answers to those who wait for it."""
    now = job.counts()
    counts = TaskCounts(
        total=now.total,
        completed=now.completed + len(completed),
        failed=now.failed + len(failed),
        cancelled=now.cancelled + len(cancelled),
    )
    if counts.completed + counts.failed + counts.cancelled < counts.total:
        return []
    kind: type[JobCompleted] | type[JobFailed] | type[JobCancelled]
    if counts.failed:
        kind, code, outcome = JobFailed, exit_code or job.exit_code or 1, DependencyOutcome.FAILED
    elif counts.cancelled:
        kind, code, outcome = JobCancelled, CANCELLED_EXIT_CODE, DependencyOutcome.CANCELLED
    else:
        kind, code, outcome = JobCompleted, 0, DependencyOutcome.COMPLETED
    end = kind(job_id=job.job_id, project=job.project, counts=counts, exit_code=code, reason=reason)
    answers = [
        DependencyResolved(job_id=job.job_id, dependent=dependent, outcome=outcome)
        for dependent in sorted(job.dependents)
    ]
    return [end, *answers]
