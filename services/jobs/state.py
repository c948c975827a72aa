"""The Job aggregate: what is folded from a job's events, compact enough for arrays of 10,000 tasks.

Pure data and folding; what may happen next is decided in `services.jobs.decide`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from events.language.base import Event
from events.language.jobs import (
    DependencyMet,
    DependencyOutcome,
    DependencyRequested,
    DependentRegistered,
    JobAssigned,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobEnded,
    JobExited,
    JobFailed,
    JobQueued,
    JobRequeued,
    JobStarted,
    JobSubmitted,
    JobTasksCancelled,
    TaskCounts,
    TaskExit,
)
from events.language.jobs.moves import JOB_MOVES
from events.language.jobs.spec import DependencyKind, JobSpec, JobStatus
from events.language.moves import check_move
from events.language.task_ranges import format_ranges, tasks_in
from services.jobs.restart import describe

STATUSES = tuple(JobStatus)
CODE = {status: code for code, status in enumerate(STATUSES)}
ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
ENDED_CODES = frozenset(CODE[status] for status in ENDED)

CANCELLED_EXIT_CODE = 143
"""What a cancelled job exits with: 128 + SIGTERM, as a shell says it."""


class _NoTasks(array):  # type: ignore[type-arg]
    __hash__ = object.__hash__  # type: ignore[assignment]


class _Nothing(Mapping[Any, Any]):
    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0


_NO_TASKS: array[int] = _NoTasks("L")
_ITEM = _NO_TASKS.itemsize
_NOTHING: Mapping[Any, Any] = _Nothing()
# What is empty in nearly every job is shared by all of them, and replaced, never changed. A dataclass takes only what
# can be hashed as a default; a factory would be called five times for each command.


@dataclass(slots=True)
class Job:
    """One job and its tasks."""

    job_id: str
    project: str = ""
    owner: str = ""
    spec_json: bytes = b""
    """The spec as it stands in the log, empty until there is the job: twenty times smaller than the model, which
    hundreds of thousands of waiting jobs need only when something happens to them."""
    submitted_at: datetime | None = None
    statuses: bytearray = field(default_factory=bytearray)
    """Per task: index into `STATUSES`."""
    attempts: array[int] = _NO_TASKS
    """Per task: the current attempt, from 1; 0 before the first."""
    restarts: array[int] = _NO_TASKS
    """Per task: restarts that count against the policy, since the last (re)queueing by a user."""
    interruptions: Mapping[int, int] = _NOTHING
    """Task → restarts that its nodes made necessary, since the last (re)queueing by a user; others have none."""
    cancelling: Set[int] = frozenset()
    """Tasks that a user wants stopped and that have not ended yet."""
    waiting: Mapping[str, DependencyKind] = _NOTHING
    """Dependencies that do not hold yet."""
    dependents: Set[str] = frozenset()
    """Jobs to be told when this one ends."""
    exit_code: int = 0
    """The first failed task's code, 128 + signal, or 1."""
    failure: str = ""
    """How the first failed task ended, in words."""
    ended: JobStatus | None = None

    @property
    def submitted(self) -> bool:
        """Whether there is such a job."""
        return bool(self.spec_json)

    @property
    def spec(self) -> JobSpec | None:
        """What was submitted; None before."""
        return _spec_of(self.spec_json) if self.spec_json else None

    @property
    def size(self) -> int:
        """Number of tasks."""
        return len(self.statuses)

    def status(self, task: int) -> JobStatus:
        return STATUSES[self.statuses[task]]

    def tasks(self, ranges: str | None) -> Iterator[int]:
        """The tasks a command names; all when it names none. Numbers beyond the array are left out."""
        if ranges is None:
            return iter(range(self.size))
        return (task for task in tasks_in(ranges) if task < self.size)

    def counts(self) -> TaskCounts:
        """How many tasks have ended how."""
        return TaskCounts(
            total=self.size,
            completed=self.statuses.count(CODE[JobStatus.COMPLETED]),
            failed=self.statuses.count(CODE[JobStatus.FAILED]),
            cancelled=self.statuses.count(CODE[JobStatus.CANCELLED]),
        )

    def outcome(self) -> DependencyOutcome:
        """What dependents are told."""
        if not self.submitted or self.ended is None:
            return DependencyOutcome.UNKNOWN
        return DependencyOutcome(self.ended.value)

    def move(self, tasks: Iterable[int], to: JobStatus) -> None:
        """Set the status of tasks; an illegal move means a decision was wrong, and is refused loudly."""
        code = CODE[to]
        for task in tasks:
            old = STATUSES[self.statuses[task]]
            if to not in JOB_MOVES[old] and (old is not to or to is JobStatus.QUEUED):
                check_move(JOB_MOVES, old, to, f"job {self.job_id} task {task}")
            self.statuses[task] = code


@lru_cache(maxsize=1024)
def _spec_of(json: bytes) -> JobSpec:
    return JobSpec.model_validate_json(json)


def exit_code_of(exit: TaskExit) -> int:
    """A failed task's contribution to the job's exit code, as a shell says it."""
    if exit.signal is not None:
        return min(255, 128 + exit.signal)
    return exit.exit_code or 1


def failure_of(job: Job, exit: TaskExit) -> str:
    """How a failed task of the job ended, for people."""
    return describe(exit) if job.size == 1 else f"task {exit.task}: {describe(exit)}"


def evolve(job: Job, event: Event, time: datetime) -> Job:
    """The job after one of its events. Changes `job` in place."""
    match event:
        case JobSubmitted():
            size = event.spec.array.size if event.spec.array else 1
            job.project, job.owner, job.submitted_at = event.project, event.owner, time
            job.spec_json = event.spec.to_json()
            job.statuses = bytearray(size)
            job.attempts = array("L", bytes(size * _ITEM))
            job.restarts = array("L", bytes(size * _ITEM))
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
        if job.statuses[task] in ENDED_CODES:  # requeued by a user: a task that runs again by itself has not ended
            job.restarts[task] = 0
            interruptions.pop(task, None)
        elif event.counted:
            job.restarts[task] += 1
        elif event.attempt > 1:
            interruptions[task] = interruptions.get(task, 0) + 1
        job.attempts[task] = event.attempt
    job.move(tasks, JobStatus.QUEUED)
    job.interruptions = interruptions or _NOTHING
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


def dump(job: Job) -> dict[str, Any]:
    """The job as JSON-ready data, without what is as in a new job: a writer waits while its jobs are dumped."""
    data: dict[str, Any] = {
        "project": job.project,
        "owner": job.owner,
        "spec": job.spec_json.decode(),
        "submitted_at": job.submitted_at.isoformat() if job.submitted_at else None,
        "statuses": job.statuses.hex(),
        "attempts": _short(job.attempts),
    }
    if any(job.restarts):
        data["restarts"] = job.restarts.tolist()
    if job.interruptions:
        data["interruptions"] = {str(task): count for task, count in job.interruptions.items()}
    if job.cancelling:
        data["cancelling"] = format_ranges(job.cancelling)
    if job.waiting:
        data["waiting"] = {dependency: kind.value for dependency, kind in job.waiting.items()}
    if job.dependents:
        data["dependents"] = sorted(job.dependents)
    if job.exit_code:
        data["exit_code"] = job.exit_code
    if job.failure:
        data["failure"] = job.failure
    if job.ended is not None:
        data["ended"] = job.ended.value
    return data


def _short(numbers: array[int]) -> list[int]:
    """All of them, or the one that all are."""
    if len(numbers) > 1 and len(set(numbers)) > 1:
        return numbers.tolist()
    return numbers[:1].tolist()


def load(job_id: str, data: dict[str, Any]) -> Job:
    """The job that `dump` gave."""
    get = data.get
    statuses = bytearray.fromhex(data["statuses"])
    size, attempts, restarts = len(statuses), data["attempts"], get("restarts")
    job = Job(
        job_id=job_id,
        project=data["project"],
        owner=data["owner"],
        spec_json=data["spec"].encode(),
        submitted_at=datetime.fromisoformat(data["submitted_at"]) if data["submitted_at"] else None,
        statuses=statuses,
        attempts=array("L", attempts if len(attempts) == size else attempts * size),
        restarts=array("L", restarts or bytes(size * _ITEM)),
        exit_code=get("exit_code", 0),
        failure=get("failure", ""),
    )
    if interruptions := get("interruptions"):
        job.interruptions = {int(task): count for task, count in interruptions.items()}
    if cancelling := get("cancelling"):
        job.cancelling = frozenset(tasks_in(cancelling))
    if waiting := get("waiting"):
        job.waiting = {dependency: DependencyKind(kind) for dependency, kind in waiting.items()}
    if dependents := get("dependents"):
        job.dependents = frozenset(dependents)
    if ended := get("ended"):
        job.ended = JobStatus(ended)
    return job
