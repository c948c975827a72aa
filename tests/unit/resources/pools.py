"""A pool under test: inputs go in as the runtime would bring them, and the events they lead to come out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from events.language.base import Command, Event
from events.language.common import DEFAULT_PROJECT, ResourceVector, utc
from events.language.jobs.spec import (
    JobEnvironment,
    JobLaunch,
    JobPriority,
    JobResources,
    JobScheduling,
    QueueRequest,
    Toleration,
)
from events.language.resources import (
    EndedTasks,
    HeartbeatNode,
    RegisterNode,
    ReportAllocationsEnded,
)
from events.language.resources.hardware import GPUResource, NodeSpec
from events.language.scheduling import JobScheduled, JobUnscheduled, Placement
from events.writer.decider import DecisionContext
from services.resources.decide import Resources
from services.resources.state import Pool

POOL = "default"
START = utc(1_760_000_000)
GIB = 1 << 30


class Pools:
    """Feeds one pool and keeps its history and clock."""

    def __init__(self, lost_after: float = 15.0) -> None:
        self.decider = Resources(lost_after)
        self.state: Pool = self.decider.initial(POOL)
        self.now: datetime = START
        self.history: list[tuple[Event, datetime]] = []
        self._inputs = 0

    def command(self, command: Command) -> list[Event]:
        """What a command leads to, with what is owed after it."""
        decided = self.decider.decide(self.state, command, self._context())
        if command.quiet:
            self.decider.note_quiet(self.state, command, self.now)
        return self._fold(decided)

    def event(self, event: Event) -> list[Event]:
        """What another context's event leads to."""
        return self._fold(self.decider.react(self.state, event, self._context()))

    def after(self, seconds: float) -> list[Event]:
        """What the passing of time leads to; the writer wakes whenever it is due, as the runtime lets it."""
        until = self.now + timedelta(seconds=seconds)
        events: list[Event] = []
        while (due := self.decider.due(self.state)) is not None and due <= until:
            self.now = max(self.now, due)
            events += self._fold(self.decider.wake(self.state, self._context()))
        self.now = until
        return events

    def replayed(self) -> Pool:
        """The state that the history alone gives."""
        state = self.decider.initial(POOL)
        for event, time in self.history:
            state = self.decider.evolve(state, event, time)
        return state

    def _context(self) -> DecisionContext:
        self._inputs += 1
        return DecisionContext(self.now, f"input-{self._inputs}", "owner", DEFAULT_PROJECT, POOL)

    def _fold(self, decided: Sequence[Event]) -> list[Event]:
        events: list[Event] = []
        while decided:
            for event in decided:
                self.state = self.decider.evolve(self.state, event, self.now)
                self.history.append((event, self.now))
                events.append(event)
            decided = self.decider.after_batch(self.state, self._context())
        return events


def gpu(index: int, name: str = "NVIDIA H200", memory: int = 141 * GIB) -> GPUResource:
    return GPUResource(index=index, uuid=f"GPU-{index}", name=name, memory_bytes=memory)


def register(
    node_id: str = "n1", *, boot: str = "boot-1", agent: str = "agent-1", instance: str = "", **spec: Any
) -> RegisterNode:
    """A node of 4 CPUs, 8 GiB, 100 GiB of scratch space and 1 Gbit/s, unless said otherwise."""
    gpus = tuple(spec.pop("gpus", ()))
    capacity = {
        "cpus": 4.0,
        "memory_bytes": 8 * GIB,
        "storage_bytes": 100 * GIB,
        "network_mbps": 1000,
        "gpus": len(gpus),
        **spec.pop("capacity", {}),
    }
    return RegisterNode(
        pool=POOL,
        node_id=node_id,
        boot_id=boot,
        agent_id=agent,
        instance_id=instance,
        spec=NodeSpec(hostname=node_id, capacity=ResourceVector(**capacity), gpus=gpus, **spec),
    )


def heartbeat(node_id: str = "n1", agent: str = "agent-1") -> HeartbeatNode:
    return HeartbeatNode(pool=POOL, node_id=node_id, agent_id=agent)


def placement(allocation: str, node_id: str = "n1", tasks: str = "0", attempt: int = 1) -> Placement:
    return Placement(node_id=node_id, allocation_id=allocation, tasks=tasks, attempt=attempt)


def scheduled(
    *placements: Placement, job: str = "job-1", tolerations: tuple[Toleration, ...] = (), **resources: Any
) -> JobScheduled:
    """Tasks of 1 CPU and 256 MiB, unless said otherwise."""
    return JobScheduled(
        queue=POOL,
        job_id=job,
        project=DEFAULT_PROJECT,
        owner="owner",
        placements=placements,
        request=QueueRequest(
            queue=POOL,
            priority=JobPriority.NORMAL,
            submitted_at=START,
            name=job,
            resources=JobResources(**resources),
            scheduling=JobScheduling(tolerations=tolerations),
        ),
        launch=JobLaunch(name=job, command="true", environment=JobEnvironment(), array_size=10_000, grace_seconds=10.0),
    )


def unscheduled(*allocations: str, job: str = "job-1", tasks: str = "0-9999", grace: float = 5.0) -> JobUnscheduled:
    return JobUnscheduled(
        queue=POOL,
        job_id=job,
        project=DEFAULT_PROJECT,
        allocations=allocations,
        tasks=tasks,
        grace_seconds=grace,
        reason="cancelled by owner",
    )


def ended(*reports: tuple[str, str], node_id: str = "n1", instance: str = "") -> ReportAllocationsEnded:
    return ReportAllocationsEnded(
        pool=POOL,
        node_id=node_id,
        ended=tuple(EndedTasks(allocation_id=allocation, tasks=tasks) for allocation, tasks in reports),
        instance_id=instance,
    )


def said(events: Sequence[Event]) -> list[str]:
    """The events by name, in order."""
    return [type(event).__name__ for event in events]
