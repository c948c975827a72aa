"""The state of the Job aggregate, folded from a job's events; compact enough for arrays of 10,000 tasks.

Pure data. `services.jobs.fold` has the folds, `services.jobs.decide` the decisions.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from events.language.jobs import (
    DependencyOutcome,
    TaskCounts,
    TaskExit,
)
from events.language.jobs.moves import JOB_MOVES
from events.language.jobs.spec import DependencyKind, JobSpec, JobStatus
from events.language.moves import check_move
from events.language.task_ranges import tasks_in
from services.jobs.restart import STEADY, describe

STATUSES = tuple(JobStatus)
CODE = {status: code for code, status in enumerate(STATUSES)}
ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
ENDED_CODES = frozenset(CODE[status] for status in ENDED)

CANCELLED_EXIT_CODE = 143
"""The exit code of a cancelled job: 128 + SIGTERM, as in a shell."""


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
ITEM_BYTES = _NO_TASKS.itemsize
NOTHING: Mapping[Any, Any] = _Nothing()
# Nearly every job has these empty values, so all jobs share them; they are replaced, never changed. (A dataclass takes
# only hashable defaults, and factories would be called five times for each command.)


class Readiness(NamedTuple):
    """Whether a task may be called, and since when by its node's clock."""

    ready: bool
    changed_at: datetime


@dataclass(slots=True)
class Job:
    """One job and its tasks."""

    job_id: str
    project: str = ""
    owner: str = ""
    spec_json: bytes = b""
    """The spec's JSON from the log; empty before the submit. It is twenty times smaller than the model, which hundreds
    of thousands of waiting jobs need only when an event changes them."""
    submitted_at: datetime | None = None
    statuses: bytearray = field(default_factory=bytearray)
    """Per task: index into `STATUSES`."""
    attempts: array[int] = _NO_TASKS
    """Per task: the current attempt, from 1; 0 before the first."""
    restarts: array[int] = _NO_TASKS
    """Per task: restarts that count against the policy, since the last (re)queueing by a user."""
    interruptions: Mapping[int, int] = NOTHING
    """Task → restarts after interruptions, since the last (re)queueing by a user; absent for none."""
    cancelling: Set[int] = frozenset()
    """Tasks that a user cancelled and that have not ended yet."""
    waiting: Mapping[str, DependencyKind] = NOTHING
    """Dependencies that do not hold yet."""
    dependents: Set[str] = frozenset()
    """Jobs that wait for the end of this one and have not been told of it."""
    unbounded: bool = False
    """Whether its tasks may be restarted any number of times."""
    up_since: Mapping[int, datetime] = NOTHING
    """Running task → its start; only of an unbounded job."""
    readiness: Mapping[int, Readiness] = NOTHING
    """Running task of a service → what its node has reported of the current attempt."""
    outputs: Set[tuple[int, int]] = frozenset()
    """(Task, attempt) whose kept files are reported."""
    exit_code: int = 0
    """The first failed task's code, 128 + signal, or 1."""
    failure: str = ""
    """How the first failed task ended, for people."""
    ended: JobStatus | None = None

    @property
    def submitted(self) -> bool:
        """Whether the job exists."""
        return bool(self.spec_json)

    @property
    def spec(self) -> JobSpec | None:
        """The submitted spec; None before the submit."""
        return _spec_of(self.spec_json) if self.spec_json else None

    def steady(self, task: int, ended_at: datetime) -> bool:
        """Whether its restarts are counted anew after an attempt that ended then."""
        since = self.up_since.get(task)
        return since is not None and ended_at - since >= STEADY

    @property
    def size(self) -> int:
        """Number of tasks."""
        return len(self.statuses)

    def status(self, task: int) -> JobStatus:
        return STATUSES[self.statuses[task]]

    def tasks(self, ranges: str | None) -> Iterator[int]:
        """The tasks that a command names; all tasks if it names none. Leaves out numbers beyond the array."""
        if ranges is None:
            return iter(range(self.size))
        return (task for task in tasks_in(ranges) if task < self.size)

    def counts(self) -> TaskCounts:
        """The number of tasks by how they ended."""
        return TaskCounts(
            total=self.size,
            completed=self.statuses.count(CODE[JobStatus.COMPLETED]),
            failed=self.statuses.count(CODE[JobStatus.FAILED]),
            cancelled=self.statuses.count(CODE[JobStatus.CANCELLED]),
        )

    def outcome(self) -> DependencyOutcome:
        """The outcome for dependents."""
        if not self.submitted or self.ended is None:
            return DependencyOutcome.UNKNOWN
        return DependencyOutcome(self.ended.value)

    def move(self, tasks: Iterable[int], to: JobStatus) -> None:
        """Set the status of tasks. Raises for an illegal move, which means that a decision was wrong."""
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
    """The exit code of a failed task, as in a shell: 128 + the number of a signal."""
    if exit.signal is not None:
        return min(255, 128 + exit.signal)
    return exit.exit_code or 1


def failure_of(job: Job, exit: TaskExit) -> str:
    """How a failed task of the job ended, for people."""
    return describe(exit) if job.size == 1 else f"task {exit.task}: {describe(exit)}"
