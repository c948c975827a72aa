"""An attempt of a task on this node, from the log's word that it is to run until its end is known to the log.

Data only; what is done with it is in `agent`, what is kept of it on the disk in `store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from events.language import task_ranges as sets
from events.language.common import utc
from events.language.jobs import (
    ExitReason,
    OutputDigests,
    TaskExit,
    TaskOutputs,
    TaskReadiness,
    TaskStart,
    TaskUsage,
)
from events.language.jobs.models import MAX_READINESS_REASON
from events.language.jobs.spec_service import ServiceSpec
from events.language.resources import AllocationBound, HeldTasks
from events.log.envelope import Recorded
from events.log.positions import ReaderPosition

MESSAGE = 2000
"""Characters that a `TaskExit.message` may have."""
MAX_TIME = 253_402_300_800
"""POSIX seconds of the year 10,000, which no timestamp can be of."""


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
    keep: tuple[str, ...] = ()
    """Which of its files are kept."""
    folder: str = ""
    """Where it runs; empty for the working folder of its own. Known only of a task with `keep`."""
    cpus: float = 0.0
    """What it was given; 0 if that is not known."""
    service: ServiceSpec | None = None
    address: str = ""
    """Where a service's task is called."""
    ports: tuple[tuple[str, int], ...] = ()
    """Name and number of each of a service's ports."""
    secrets: tuple[str, ...] = ()
    """Names of the secrets that it was given."""

    @property
    def key(self) -> str:
        """Also the name of its folder. Unique, since the last two parts are numbers."""
        return f"{self.allocation_id}-{self.task}-{self.attempt}"

    def record(self) -> dict[str, Any]:
        """As JSON-ready data, for its folder."""
        service = self.service.model_dump(mode="json", exclude_defaults=True) if self.service is not None else None
        return {**asdict(self), "service": service}


@dataclass(frozen=True, slots=True)
class Exit:
    """How an attempt ended, as its warden wrote it."""

    reason: ExitReason
    ended_at: Annotated[float, Field(ge=0, lt=MAX_TIME)]
    """POSIX seconds."""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    signal: Annotated[int, Field(ge=1, le=64)] | None = None
    message: str = ""
    cpu_seconds: Annotated[float, Field(ge=0, lt=MAX_TIME)] = 0.0
    max_rss_bytes: Annotated[int, Field(ge=0, lt=1 << 63)] = 0

    @property
    def ok(self) -> bool:
        return self.reason is ExitReason.EXITED and self.exit_code == 0

    @staticmethod
    def of(data: Any) -> Exit:
        """What a note says. Raises ValueError when it makes no sense: a task may have written it."""
        return _EXIT.validate_python(data)


_EXIT = TypeAdapter(Exit)


@dataclass(frozen=True, slots=True)
class Stop:
    """A wish to end an attempt."""

    reason: ExitReason
    grace_seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service's task may be called."""

    ready: bool
    changed_at: float
    """POSIX seconds."""
    reason: str = ""
    """Why it may not."""


@dataclass(slots=True, eq=False)
class Attempt:
    task: Task
    bound: AllocationBound | None = None
    """What to start; None when it was found running."""
    place: ReaderPosition | None = None
    """Where `bound` stands in the log, until its folder exists: after a crash the log is read again from there."""
    folder: str | None = None
    """Where it runs, as far as that depends on what the node sees there or is made here; else its job's word."""
    resumed: bool = False
    """Whether an earlier agent or launcher started it."""
    launching: bool = False
    warden: int = 0
    warden_ticks: int = 0
    pidfd: int = -1
    """Becomes readable when the warden has ended."""
    pid: int = 0
    ticks: int = 0
    started_at: float = 0.0
    seen: Mapping[int, int] = field(default_factory=dict)
    """Pid → start of the processes that were seen below the warden last."""
    stop: Stop | None = None
    """What is to be asked of its warden."""
    asked: Stop | None = None
    """What its warden was asked first."""
    gone: bool = False
    """The log says that the allocation is released: nothing of it may run."""
    up: bool = False
    """Of a service: its startup probe was good, or there is none."""
    readiness: Readiness | None = None
    """Of a service; None as long as no probe has decided."""
    exit: Exit | None = None
    output: OutputDigests | None = None
    unsettled: set[str] = field(default_factory=set)
    """What is still to be done once it has ended: reports to be accepted, output to be shipped, files to be kept."""
    outputs: TaskOutputs | None = None
    """Its files that are kept, once they are in the object store or given up."""
    incomplete: bool = False
    """Not all of them are kept, so its folders are, for a while."""

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
            address=self.task.address,
            ports=dict(self.task.ports),
        )

    def readiness_report(self) -> TaskReadiness:
        told = self.readiness
        assert told is not None
        return TaskReadiness(
            task=self.task.task,
            attempt=self.task.attempt,
            ready=told.ready,
            changed_at=utc(told.changed_at),
            reason=plain(told.reason)[:MAX_READINESS_REASON],
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
            message=plain(exit.message)[:MESSAGE],
            ended_at=utc(exit.ended_at),
            usage=self._usage(exit),
            output=self.output,
        )

    def _usage(self, exit: Exit) -> TaskUsage:
        wall = max(exit.ended_at - self.started_at, 0.0) if self.started_at else 0.0
        return TaskUsage(
            cpu_seconds=exit.cpu_seconds,
            max_rss_bytes=exit.max_rss_bytes,
            wall_seconds=wall,
            gpu_seconds=wall * len(self.task.gpus),
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
                cpus=bound.resources.cpus,
                gpus=devices.get(task, ()),
                traceparent=record.meta.traceparent,
                correlation=record.meta.correlation,
                causation=record.meta.id,
                keep=bound.launch.keep,
                service=bound.launch.service,
                secrets=tuple(dict.fromkeys(each.name for each in bound.launch.environment.secrets)),
            ),
            bound=bound,
            place=place,
        )
        for task in tasks
    ]


def tasks_held(holds: Iterable[HeldTasks], boot_id: str) -> Iterator[Task]:
    """The attempts that a pool believes to run on this node, as far as it names them."""
    for hold in holds:
        for task in sets.each(sets.parse(hold.tasks)):
            yield Task(hold.allocation_id, hold.job_id, task, hold.attempt, hold.project, boot_id, 0.0, 0)


def plain(text: str) -> str:
    """A text that every reader can store: no zero character, no lone surrogate."""
    return text.encode("utf-8", "replace").decode().replace("\0", "�")


def ended_now(reason: ExitReason, message: str, now: datetime) -> Exit:
    """The end of an attempt that left none behind itself."""
    return Exit(reason, now.timestamp(), message=message)
