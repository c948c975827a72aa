"""A deployment's decisions in memory, without a log: commands, events of its replicas' jobs and time in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.language.base import Command, Event
from events.language.common import Refused
from events.language.deployments.commands import CreateDeployment, ResolveRevision, UpdateDeployment
from events.language.deployments.enums import DeploymentStatus, ReplicaStatus
from events.language.deployments.events import (
    DeploymentStatusChanged,
    ReplicaDraining,
    ReplicaReleased,
    ReplicaRequested,
    RoutingChanged,
)
from events.language.deployments.models import DeploymentSpec, ResolvedModel
from events.language.experiments.registry.models import ModelFormat
from events.language.jobs import (
    ExitReason,
    JobCancelled,
    JobExited,
    JobStarted,
    JobTaskReady,
    JobTaskUnready,
    TaskCounts,
    TaskExit,
    TaskStart,
)
from events.language.objects import ObjectRef
from events.log.ids import with_assigned_id
from events.writer.decider import DecisionContext
from services.deployments.decide import Deployments
from services.deployments.state import Deployment, Replica

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
PROJECT = "local/default"
ID = "digits"


def command_spec(program: str = "serve-digits", **fields: Any) -> DeploymentSpec:
    """A deployment whose replicas run a command."""
    return DeploymentSpec(**{"command": program, "replicas": 2, "drain_seconds": 5.0, **fields})


def version(number: int = 3) -> ResolvedModel:
    return ResolvedModel(
        name="digits",
        number=number,
        version_id=f"v{number}",
        bundle=ObjectRef(digest="ab" * 32, size=100),
        model_format=ModelFormat.ONNX,
    )


class Desk:
    """Decides as the writer does: each event is folded, and then `after_batch` is asked until it has nothing."""

    def __init__(self, project: str = PROJECT) -> None:
        self.decider = Deployments()
        self.state: Deployment = self.decider.initial(ID)
        self.project = project
        self.now = NOON
        self.events: list[Event] = []
        self._ids = 0

    # What comes in

    def send(self, command: Command) -> list[Event]:
        """What follows from a command. Raises Refused."""
        self._ids += 1
        command = with_assigned_id(command, f"c{self._ids}", self.project)
        return self.take(self.decider.decide(self.state, command, self.context()))

    def hear(self, event: Event) -> list[Event]:
        return self.take(self.decider.react(self.state, event, self.context()))

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass; the deployment wakes whenever something is due."""
        end, found = self.now + timedelta(seconds=seconds), []
        while (due := self.decider.due(self.state)) is not None and due <= end:
            self.now = max(self.now, due)
            woken = self.take(self.decider.wake(self.state, self.context()))
            assert woken or self.decider.due(self.state) != due, f"nothing happens at {due}, though it is due"
            found += woken
        self.now = end
        return found

    def create(self, spec: DeploymentSpec | None = None) -> list[Event]:
        return self.send(CreateDeployment(name="digits", spec=spec or command_spec()))

    def update(self, program: str, **fields: Any) -> list[Event]:
        return self.send(UpdateDeployment(deployment_id=ID, spec=command_spec(program, **fields)))

    def resolve(self, revision: int, model: ResolvedModel | None = None, problem: str = "") -> list[Event]:
        return self.send(ResolveRevision(deployment_id=ID, revision=revision, model=model, problem=problem))

    def ready(self, *numbers: int) -> list[Event]:
        """The processes of these replicas start and get ready."""
        found: list[Event] = []
        for number in numbers:
            found += self.hear(self.started(number))
            found += self.hear(self.answers(number))
        return found

    def all_ready(self, revision: int) -> list[Event]:
        waiting = [n for n, each in self.state.live(revision) if each.status is ReplicaStatus.REQUESTED]
        return self.ready(*waiting)

    def crash(self, number: int, message: str = "", code: int = 3) -> list[Event]:
        return self.hear(self.exited(number, message=message, code=code))

    def cancelled(self, *numbers: int) -> list[Event]:
        """The jobs of these replicas end, as they were to."""
        found: list[Event] = []
        for number in numbers:
            job, counts = self.replica(number).job_id, TaskCounts(total=1, cancelled=1)
            found += self.hear(JobCancelled(job_id=job, project=self.project, counts=counts, exit_code=0))
        return found

    def all_released(self) -> list[Event]:
        return self.cancelled(*(n for n, r in self.state.replicas.items() if r.status is ReplicaStatus.RELEASED))

    def started(self, number: int) -> JobStarted:
        replica = self.replica(number)
        start = TaskStart(
            task=0,
            attempt=replica.attempt + 1,
            allocation_id="a1",
            pid=1,
            started_at=self.now,
            address=f"10.0.{number // 256}.{number % 256}",
            ports={"http": 20_000},
        )
        return JobStarted(job_id=replica.job_id, node_id="n1", tasks=(start,))

    def answers(self, number: int) -> JobTaskReady:
        replica = self.replica(number)
        about = {"job_id": replica.job_id, "node_id": "n1", "task": 0, "attempt": replica.attempt}
        return JobTaskReady(**about, changed_at=self.now)

    def silent(self, number: int) -> JobTaskUnready:
        """Its process runs, and answers no probe any more."""
        replica = self.replica(number)
        about = {"job_id": replica.job_id, "node_id": "n1", "task": 0, "attempt": replica.attempt}
        return JobTaskUnready(**about, changed_at=self.now, reason="GET /ready: 503")

    def exited(
        self, number: int, reason: ExitReason = ExitReason.EXITED, message: str = "", code: int = 3
    ) -> JobExited:
        replica = self.replica(number)
        exit = TaskExit(
            task=0,
            attempt=max(1, replica.attempt),
            reason=reason,
            exit_code=code if reason is ExitReason.EXITED else None,
            message=message,
            ended_at=self.now,
        )
        return JobExited(job_id=replica.job_id, node_id="n1", tasks=(exit,))

    # What there is

    def replica(self, number: int) -> Replica:
        return self.state.replicas[number]

    @property
    def status(self) -> DeploymentStatus | None:
        return self.state.status

    def live(self) -> dict[int, list[int]]:
        """Revision → its replicas that do not go."""
        found: dict[int, list[int]] = {}
        for number, replica in self.state.live():
            found.setdefault(replica.revision, []).append(number)
        return found

    def orders(self, event: Event) -> list[Any]:
        """The orders and questions that an event leads to."""
        return list(self.decider.dispatch(event, self.context()))

    def take(self, decided: Sequence[Event]) -> list[Event]:
        done: list[Event] = []
        waiting = list(decided)
        while waiting:
            for event in waiting:
                self.state = self.decider.evolve(self.state, event, self.now)
                self.check(event)
                done.append(event)
            waiting = list(self.decider.after_batch(self.state, self.context()))
            assert len(done) < 5_000, "it comes to no end"
        self.events += done
        return done

    def check(self, event: Event) -> None:
        """For tests that hold every event to something."""

    def context(self) -> DecisionContext:
        self._ids += 1
        return DecisionContext(self.now, f"i{self._ids}", "owner", self.project, ID)


def names(events: Iterable[Event]) -> list[str]:
    """Which events these are."""
    return [type(event).__name__ for event in events]


def statuses(events: Iterable[Event]) -> list[str]:
    return [event.status.value for event in events if isinstance(event, DeploymentStatusChanged)]


def requested(events: Iterable[Event]) -> list[tuple[int, int]]:
    """Revision and number of the replicas that are ordered."""
    return [(event.revision, event.replica) for event in events if isinstance(event, ReplicaRequested)]


def draining(events: Iterable[Event]) -> list[int]:
    return [event.replica for event in events if isinstance(event, ReplicaDraining)]


def released(events: Iterable[Event]) -> list[int]:
    return [event.replica for event in events if isinstance(event, ReplicaReleased)]


def tables(events: Iterable[Event]) -> list[Any]:
    return [event.table for event in events if isinstance(event, RoutingChanged)]


def refusal(desk: Desk, command: Command) -> Refused:
    """Why a command is refused."""
    with pytest.raises(Refused) as caught:
        desk.send(command)
    return caught.value
