"""An attempt of a task on this node, from the log's word that it is to run until its end is known to the log.

Data only; what is done with it is in `agent`, what is kept of it on the disk in `store`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from events.language.common import utc
from events.language.jobs import ExitReason, TaskExit, TaskStart, TaskUsage
from events.language.resources import AllocationBound
from events.log.envelope import Recorded
from events.log.tail import ReaderPosition

MESSAGE = 2000
"""Characters that a `TaskExit.message` may have."""


@dataclass(frozen=True, slots=True)
class Task:
    """What names an attempt and must be known of it after the agent's restart. Kept in its folder."""

    allocation_id: str
    job_id: str
    task: int
    attempt: int
    project: str
    boot_id: str
    grace_seconds: float
    memory_bytes: int
    gpus: tuple[int, ...] = ()
    traceparent: str = ""
    correlation: str = ""
    causation: str = ""
    """Id of the `AllocationBound`."""

    @property
    def key(self) -> str:
        """Also the name of its folder. Unique, since the last two parts are numbers."""
        return f"{self.allocation_id}-{self.task}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Exit:
    """How an attempt ended, as its warden wrote it."""

    reason: ExitReason
    ended_at: float
    """POSIX seconds."""
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0

    @property
    def ok(self) -> bool:
        return self.reason is ExitReason.EXITED and self.exit_code == 0

    @classmethod
    def of(cls, data: dict[str, Any]) -> Exit:
        return cls(**{**data, "reason": ExitReason(data["reason"])})


@dataclass(frozen=True, slots=True)
class Stop:
    """A wish to end an attempt."""

    reason: ExitReason
    grace_seconds: float
    message: str = ""


@dataclass(slots=True, eq=False)
class Attempt:
    task: Task
    bound: AllocationBound | None = None
    """What to start; None when it was found running."""
    place: ReaderPosition | None = None
    """Where `bound` stands in the log, until its folder exists: after a crash the log is read again from there."""
    folder: str | None = None
    """Where it runs, as far as that depends on what the node sees there; else its job's word."""
    launching: bool = False
    warden: int = 0
    pidfd: int = -1
    """Becomes readable when the warden has ended."""
    pid: int = 0
    started_at: float = 0.0
    stop: Stop | None = None
    gone: bool = False
    """The log says that the allocation is released: nothing of it may run."""
    exit: Exit | None = None
    unsettled: set[str] = field(default_factory=set)
    """What is still to be done once it has ended: reports to be accepted, output to be shipped."""

    @property
    def key(self) -> str:
        return self.task.key

    @property
    def running(self) -> bool:
        return self.warden != 0 and self.exit is None

    def start(self) -> TaskStart:
        return TaskStart(
            task=self.task.task,
            attempt=self.task.attempt,
            allocation_id=self.task.allocation_id,
            pid=self.pid,
            started_at=utc(self.started_at),
            gpus=self.task.gpus,
        )

    def end(self) -> TaskExit:
        exit = self.exit
        assert exit is not None
        return TaskExit(
            task=self.task.task,
            attempt=self.task.attempt,
            allocation_id=self.task.allocation_id,
            reason=exit.reason,
            exit_code=exit.exit_code,
            signal=exit.signal,
            message=exit.message[:MESSAGE],
            ended_at=utc(exit.ended_at),
            usage=TaskUsage(cpu_seconds=exit.cpu_seconds, max_rss_bytes=exit.max_rss_bytes),
        )


def attempts_of(record: Recorded, bound: AllocationBound, tasks: list[int], boot_id: str) -> list[Attempt]:
    """The attempts that an allocation on this node asks for."""
    devices = {share.task: share.gpus for share in bound.devices}
    place = ReaderPosition(record.position.offset, record.epoch)
    return [
        Attempt(
            Task(
                allocation_id=bound.allocation_id,
                job_id=bound.job_id,
                task=task,
                attempt=bound.attempt,
                project=bound.project,
                boot_id=boot_id,
                grace_seconds=bound.launch.grace_seconds,
                memory_bytes=bound.resources.memory_bytes,
                gpus=devices.get(task, ()),
                traceparent=record.meta.traceparent,
                correlation=record.meta.correlation,
                causation=record.meta.id,
            ),
            bound=bound,
            place=place,
        )
        for task in tasks
    ]


def ended_now(reason: ExitReason, message: str, now: datetime) -> Exit:
    """The end of an attempt that left none behind itself."""
    return Exit(reason, now.timestamp(), message=message)
