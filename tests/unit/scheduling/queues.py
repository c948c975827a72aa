"""A queue under test: inputs go in as the runtime would bring them, and the events they lead to come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from events.language import task_ranges as sets
from events.language.base import Command, Event
from events.language.common import DEFAULT_PROJECT, ResourceVector, utc
from events.language.jobs import JobCancelRequested, JobQueued
from events.language.jobs.spec import (
    JobEnvironment,
    JobLaunch,
    JobPriority,
    JobResources,
    JobScheduling,
    QueueRequest,
)
from events.language.resources import (
    AllocationBound,
    AllocationRejected,
    AllocationReleased,
    DeviceShare,
    NodeRegistered,
    ReleaseReason,
)
from events.language.resources.hardware import GPUResource, NodeSpec
from events.language.scheduling import JobDeferred, JobScheduled
from events.writer.decider import DecisionContext
from services.scheduling.decide import Scheduling
from services.scheduling.engine.node import Hold
from services.scheduling.state import Queue

QUEUE = "default"
START = utc(1_760_000_000)
GIB = 1 << 30


class Queues:
    """Feeds one queue and keeps its history and clock."""

    def __init__(self) -> None:
        self.decider = Scheduling()
        self.state: Queue = self.decider.initial(QUEUE)
        self.now: datetime = START
        self.history: list[tuple[Event, datetime]] = []
        self.foreign: list[tuple[Event, datetime, int]] = []
        """What was observed, in order; and how long the history was when it was said."""
        self._said: dict[int, int] = {}
        self._inputs = 0

    def command(self, command: Command) -> list[Event]:
        """What a command leads to, with what is planned after it."""
        return [*self._fold(self.decider.decide(self.state, command, self._context())), *self.settle()]

    def event(self, *events: Event, settle: bool = True) -> list[Event]:
        """What other contexts' events lead to, with one plan after them all."""
        told: list[Event] = []
        for event in events:
            self.state = self.decider.observe(self.state, event, self.now)
            self.foreign.append((event, self.now, self._said.get(id(event), len(self.history))))
            told += self._fold(self.decider.react(self.state, event, self._context()))
        return [*told, *(self.settle() if settle else ())]

    def said(self, event: Event) -> None:
        """Another context has recorded an event that is not observed yet."""
        self._said[id(event)] = len(self.history)

    def settle(self) -> list[Event]:
        told: list[Event] = []
        while events := self.decider.after_batch(self.state, self._context()):
            told += self._fold(events)
        return told

    def after(self, seconds: float) -> list[Event]:
        """What the passing of time leads to; the writer wakes whenever it is due, as the runtime lets it."""
        until = self.now + timedelta(seconds=seconds)
        events: list[Event] = []
        while (due := self.decider.due(self.state)) is not None and due <= until:
            self.now = max(self.now, due)
            events += self._fold(self.decider.wake(self.state, self._context()))
            events += self.settle()
        self.now = until
        return events

    def why(self) -> str:
        """Why what waits does so, in the words of the next event that says it."""
        (deferred,) = [event for event in self.after(0.25) if isinstance(event, JobDeferred)]
        return deferred.message

    def replayed(self) -> Queue:
        """The state that a new writer folds: the queue's own history, and then the view."""
        state = self.decider.initial(QUEUE)
        for event, time in self.history:
            state = self.decider.evolve(state, event, time)
        for event, time, _ in self.foreign:
            state = self.decider.observe(state, event, time)
        return state

    def interleaved(self) -> Queue:
        """The same, each foreign event observed as soon as it had been said, and so behind what it follows from."""
        state = self.decider.initial(QUEUE)
        done = 0
        for event, time, at in sorted(self.foreign, key=lambda item: item[2]):
            for own, when in self.history[done:at]:
                state = self.decider.evolve(state, own, when)
            done = max(done, at)
            state = self.decider.observe(state, event, time)
        for own, when in self.history[done:]:
            state = self.decider.evolve(state, own, when)
        return state

    @property
    def waiting(self) -> dict[str, str]:
        """Job → tasks that wait."""
        waiting: dict[str, sets.Tasks] = {}
        for entry in self.state.backlog:
            waiting[entry.job.id] = sets.union(waiting.get(entry.job.id, sets.NONE), entry.tasks)
        return {job: sets.text(tasks) for job, tasks in waiting.items()}

    def _context(self) -> DecisionContext:
        self._inputs += 1
        return DecisionContext(self.now, f"input-{self._inputs}", "owner", DEFAULT_PROJECT, QUEUE)

    def _fold(self, events: Sequence[Event]) -> list[Event]:
        for event in events:
            self.state = self.decider.evolve(self.state, event, self.now)
            self.history.append((event, self.now))
        return list(events)


def gpu(index: int, name: str = "NVIDIA H200", memory: int = 141 * GIB, **more: Any) -> GPUResource:
    return GPUResource(index=index, uuid=f"GPU-{index}", name=name, memory_bytes=memory, **more)


def node(node_id: str = "n1", *, cpus: float = 4.0, gpus: Iterable[GPUResource] = (), **spec: Any) -> NodeRegistered:
    """A node of 4 CPUs, 8 GiB, 100 GiB of scratch space and 1 Gbit/s, unless said otherwise."""
    devices = tuple(gpus)
    capacity = {
        "cpus": cpus,
        "memory_bytes": 8 * GIB,
        "storage_bytes": 100 * GIB,
        "network_mbps": 1000,
        "gpus": len(devices),
        **spec.pop("capacity", {}),
    }
    return NodeRegistered(
        pool=QUEUE,
        node_id=node_id,
        boot_id="boot-1",
        agent_id="agent-1",
        spec=NodeSpec(hostname=node_id, capacity=ResourceVector(**capacity), gpus=devices, **spec),
    )


_RULES = {"node_selector", "node_affinity", "preferred_nodes", "job_affinity", "tolerations"}


def job(
    job_id: str,
    tasks: str = "0",
    *,
    attempt: int = 1,
    priority: JobPriority = JobPriority.NORMAL,
    age: float = 0.0,
    labels: dict[str, str] | None = None,
    max_parallel: int | None = None,
    not_before: datetime | None = None,
    queue: str = QUEUE,
    **more: Any,
) -> JobQueued:
    """Tasks of 1 CPU and 256 MiB, unless said otherwise; submitted `age` seconds before the start."""
    rules = {key: more.pop(key) for key in _RULES & set(more)}
    return JobQueued(
        job_id=job_id,
        project=DEFAULT_PROJECT,
        owner="owner",
        tasks=tasks,
        attempt=attempt,
        not_before=not_before,
        request=QueueRequest(
            queue=queue,
            priority=priority,
            submitted_at=START - timedelta(seconds=age),
            name=job_id,
            labels=labels or {},
            resources=JobResources(**more),
            scheduling=JobScheduling(**rules),
            max_parallel=max_parallel,
        ),
        launch=JobLaunch(
            name=job_id, command="true", environment=JobEnvironment(), array_size=10_000, grace_seconds=10.0
        ),
    )


def cancel(job_id: str, tasks: str = "0-9999", grace: float = 5.0) -> JobCancelRequested:
    return JobCancelRequested(
        job_id=job_id,
        project=DEFAULT_PROJECT,
        queue=QUEUE,
        tasks=tasks,
        grace_seconds=grace,
        reason="cancelled by owner",
    )


# What resources answers


def bound(plan: JobScheduled, number: int = 0, devices: tuple[DeviceShare, ...] = ()) -> AllocationBound:
    """The placement of this number of a plan fits."""
    placed = plan.placements[number]
    return AllocationBound(
        pool=QUEUE,
        allocation_id=placed.allocation_id,
        job_id=plan.job_id,
        project=plan.project,
        node_id=placed.node_id,
        tasks=placed.tasks,
        attempt=placed.attempt,
        resources=plan.request.resources,
        devices=devices,
        launch=plan.launch,
    )


def rejection(plan: JobScheduled, number: int = 0) -> AllocationRejected:
    placed = plan.placements[number]
    return AllocationRejected(
        pool=QUEUE,
        allocation_id=placed.allocation_id,
        job_id=plan.job_id,
        project=plan.project,
        node_id=placed.node_id,
        tasks=placed.tasks,
        attempt=placed.attempt,
        reason="it does not fit any more",
    )


def released(
    plan: JobScheduled, number: int = 0, tasks: str = "", reason: ReleaseReason = ReleaseReason.ENDED
) -> AllocationReleased:
    """Tasks of a placement (all, unless said otherwise) gave their share back."""
    placed = plan.placements[number]
    gone = tasks or placed.tasks
    rest = sets.minus(sets.parse(placed.tasks), sets.parse(gone))
    return AllocationReleased(
        pool=QUEUE,
        allocation_id=placed.allocation_id,
        job_id=plan.job_id,
        project=plan.project,
        node_id=placed.node_id,
        tasks=gone,
        attempt=placed.attempt,
        rest=sets.text(rest) or None,
        reason=reason,
    )


# What to look at


def said(events: Sequence[Event]) -> list[str]:
    """The events by name, in order."""
    return [type(event).__name__ for event in events]


def plans(events: Sequence[Event]) -> list[JobScheduled]:
    return [event for event in events if isinstance(event, JobScheduled)]


def places(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    """What was placed: job, tasks, node."""
    return [(plan.job_id, placed.tasks, placed.node_id) for plan in plans(events) for placed in plan.placements]


def same_view(one: Queue, other: Queue) -> bool:
    """Whether two states agree on what is free, who holds what, and what waits."""
    return _view(one) == _view(other)


def _view(queue: Queue) -> Any:
    return (
        {
            id: (node.status, node.labels, node.taints, node.free, set(node.holds), node.jobs, node.held)
            for id, node in queue.cluster.nodes.items()
        },
        {id: _hold(hold) for id, hold in queue.cluster.holds.items()},
        {(entry.job.id, entry.attempt): (entry.tasks, entry.not_before, entry.told) for entry in queue.backlog},
        {id: (item.job.id, item.tasks, item.stopping) for id, item in queue.placements.items()},
        {job.id: (job.placed, job.placements) for job in queue.backlog.jobs.values()},
        (queue.number, queue.status, queue.backlog.policy),
    )


def _hold(hold: Hold) -> Any:
    return hold.job_id, hold.node_id, hold.tasks, hold.bound, hold.gpus if hold.bound else None
