"""What a pool remembers: its nodes, who holds what on each, and what is still owed (stops, releases).

Plain data with the small changes that events make to it; which events there are and when is `decide`. Knows no
commands, no clock, no storage.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from events.language import task_ranges as sets
from events.language.jobs.spec import JobResources, Toleration
from events.language.resources import AllocationStatus, Taint
from events.language.resources.amounts import Amounts, of_request, of_vector
from events.language.resources.hardware import NodeSpec, NodeStatus
from events.language.task_ranges import Tasks

REMEMBERED = 10_000
"""Ended allocations a pool remembers by id, so that a repeated report of an end is known for one."""


@dataclass(slots=True)
class Allocation:
    """Resources of one node held by tasks of one attempt of a job."""

    id: str
    job_id: str
    project: str
    node_id: str
    boot_id: str
    tasks: Tasks
    """All it was bound for."""
    held: Tasks
    """Those whose processes are not known to be gone."""
    stopping: Tasks
    """Those of `held` that were asked to stop."""
    attempt: int
    resources: JobResources
    gpus: dict[int, tuple[int, ...]]
    """Task → indices of its GPUs; only tasks that are held."""
    grace_seconds: float
    tolerations: tuple[Toleration, ...] = ()
    orphaned: bool = False
    """Its node was lost, has booted anew or has another registration: its release is owed."""
    instance_id: str = ""
    """The registration of the node that it was bound to."""

    @property
    def status(self) -> AllocationStatus:
        """Stopping once no held task is left that may run on."""
        return AllocationStatus.STOPPING if self.stopping == self.held else AllocationStatus.BOUND


class Load(NamedTuple):
    """How busy a node is, by its agent's last heartbeat."""

    cpu_percent: float
    memory_used_bytes: int
    running_tasks: int


@dataclass(slots=True)
class Node:
    """A node: what its agent said, what operators said, and who holds what."""

    id: str
    spec: NodeSpec
    boot_id: str
    agent_id: str
    registered_at: datetime
    hold: NodeStatus | None = None
    """Why nothing new is let onto it: cordoned, draining or drained; None if it is let."""
    hold_reason: str = ""
    drain_grace: float | None = None
    """Grace that a drain asked for in place of each job's own."""
    lost: bool = False
    labels: dict[str, str | None] = field(default_factory=dict)
    """What operators said; None hides a label of the agent's."""
    taints: tuple[Taint, ...] = ()
    """The operators'; the agent's are in `spec`."""
    used: Amounts = field(default_factory=Amounts)
    gpus: dict[int, str] = field(default_factory=dict)
    """Index → the allocation that holds it."""
    allocations: dict[str, str] = field(default_factory=dict)
    """Allocation → its job."""
    exclusive: str = ""
    """The job that has the node for itself."""
    instance_id: str = ""
    """The registration that holds the node; empty for an agent that names none."""
    last_seen: datetime | None = None
    """Volatile: when its agent was last heard of."""
    load: Load | None = None
    """Volatile: what its agent said then; None before the first heartbeat."""

    @property
    def status(self) -> NodeStatus:
        return NodeStatus.LOST if self.lost else self.hold or NodeStatus.READY

    @property
    def free(self) -> Amounts:
        """Negative where the node has shrunk below what is held."""
        return of_vector(self.spec.capacity).minus(self.used)

    def succeeded_by(self, boot_id: str, instance_id: str) -> bool:
        """Whether an agent can be the registered one, started again: same folder, same boot of the machine. The lock
        on its folder then proves that the earlier agent has ended. Nodes without an instance prove nothing."""
        return not self.instance_id or (self.instance_id, self.boot_id) == (instance_id, boot_id)

    def label(self, key: str) -> str | None:
        """A label's value as jobs see it: the operators' word goes before the agent's."""
        return self.labels[key] if key in self.labels else self.spec.labels.get(key)

    def copy(self) -> Node:
        """A copy on which placements can be tried."""
        return replace(self, gpus=dict(self.gpus), allocations=dict(self.allocations))

    def take(self, allocation: Allocation) -> None:
        """Account for what a new allocation holds."""
        self.allocations[allocation.id] = allocation.job_id
        if allocation.resources.exclusive:
            self.exclusive = allocation.job_id
        self.used = self.used.plus(of_request(allocation.resources).times(sets.count(allocation.held)))
        for indices in allocation.gpus.values():
            for index in indices:
                if index in self.gpus:
                    raise ValueError(f"gpu {index} of node {self.id} is held by {self.gpus[index]} already")
                self.gpus[index] = allocation.id

    def give_back(self, allocation: Allocation, tasks: Tasks) -> None:
        """Account for held tasks that are gone, before they are struck off the allocation."""
        self.used = self.used.minus(of_request(allocation.resources).times(sets.count(tasks)))
        if allocation.gpus:
            for task in sets.each(tasks):
                for index in allocation.gpus.get(task, ()):
                    del self.gpus[index]
        if tasks == allocation.held:
            del self.allocations[allocation.id]
            if not self.allocations:
                self.exclusive = ""


@dataclass(slots=True)
class Pool:
    """All of a pool: the unit of consistency, decided by one writer."""

    name: str
    nodes: dict[str, Node] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    """Those that hold something."""
    ended: dict[str, str] = field(default_factory=dict)
    """Ids of the last released and rejected allocations, oldest first → their node."""
    owing: set[str] = field(default_factory=set)
    """Nodes on which stops, releases or the end of a drain may be owed."""
    look_at: datetime | None = None
    """Volatile: no node can be overdue before this; None when it must be worked out anew."""

    def known(self, allocation_id: str) -> bool:
        return allocation_id in self.allocations or allocation_id in self.ended

    def on(self, node: Node) -> list[Allocation]:
        """A node's allocations, oldest first."""
        return [self.allocations[id] for id in node.allocations]

    def bind(self, allocation: Allocation) -> None:
        self.allocations[allocation.id] = allocation
        self.nodes[allocation.node_id].take(allocation)

    def release(self, allocation_id: str, tasks: Tasks) -> None:
        """Tasks of an allocation are gone; with the last one so is the allocation."""
        allocation = self.allocations[allocation_id]
        self.nodes[allocation.node_id].give_back(allocation, tasks)
        for task in sets.each(tasks) if allocation.gpus else ():
            allocation.gpus.pop(task, None)
        allocation.held = sets.minus(allocation.held, tasks)
        allocation.stopping = sets.minus(allocation.stopping, tasks)
        if not allocation.held:
            del self.allocations[allocation_id]
            self.remember(allocation_id, allocation.node_id)

    def remember(self, allocation_id: str, node_id: str) -> None:
        self.ended[allocation_id] = node_id
        while len(self.ended) > REMEMBERED:
            del self.ended[next(iter(self.ended))]
