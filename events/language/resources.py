"""Commands and events of resources: nodes and their inventory, allocations, the pool as the single writer of capacity.

The hardware models of modules 2 and 3 are in `events.language.hardware`. The aggregate is the pool.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from events.language.base import Command, Event, Model
from events.language.common import (
    Attempt,
    DeviceIndex,
    Identifier,
    OptionalIdentifier,
    ProjectName,
    ResourceVector,
    TaskNumber,
    TaskRanges,
)
from events.language.hardware import NodeRole, NodeSpec, NodeStatus
from events.language.jobspec import JobLaunch, JobResources, LabelKey, LabelValue, TaintEffect, Toleration

__all__ = ["NodeRole", "NodeStatus"]


class PoolCommand(Command):
    context: ClassVar[str] = "resources"
    subject_from: ClassVar[str] = "node_id"
    key_from: ClassVar[str] = "pool"

    pool: Identifier
    node_id: Identifier


class PoolEvent(Event):
    context: ClassVar[str] = "resources"
    subject_from: ClassVar[str] = "node_id"
    key_from: ClassVar[str] = "pool"

    pool: Identifier
    node_id: Identifier


class Taint(Model):
    """Keeps jobs off a node unless they tolerate it."""

    key: LabelKey
    value: LabelValue = ""
    effect: TaintEffect = TaintEffect.NO_SCHEDULE


class AllocationStatus(StrEnum):
    """Where an allocation is in its life. The allowed moves are in `ALLOCATION_MOVES`. The summary names no values;
    these are the steps of the main flow."""

    PENDING = "pending"
    """Placed by scheduling; the pool's writer has not answered yet."""
    BOUND = "bound"
    """Its resources are taken."""
    ACTIVE = "active"
    """Its process runs."""
    STOPPING = "stopping"
    """Its processes were told to end."""
    RELEASED = "released"
    """Its processes are gone, its resources free."""
    REJECTED = "rejected"
    """It did not fit any more."""
    LOST = "lost"
    """Its node was lost."""


class ReleaseReason(StrEnum):
    """Why an allocation gave its resources back."""

    ENDED = "ended"
    """The processes are gone."""
    NODE_LOST = "node_lost"


class DeviceShare(Model):
    """Devices of one task."""

    task: TaskNumber
    gpus: tuple[DeviceIndex, ...] = ()
    """Indices of whole GPUs on the node."""


# Commands


class RegisterNode(PoolCommand):
    """An agent announces its node: inventory, labels, taints. Repeated at every agent start."""

    by_agents: ClassVar[bool] = True

    spec: NodeSpec
    boot_id: str = Field(min_length=1, max_length=64)
    """Changes when the machine boots: the processes of another boot are gone."""
    agent_id: str = Field(min_length=1, max_length=64)
    """Changes at every agent start."""
    instance_id: str = Field(default="", max_length=64)
    """Names the agent's folder: made at the first start there and kept in it. While the agent that holds the node is
    heard of, only an agent with the same instance and boot may register the node. Empty from agents that have none."""


class HeartbeatNode(PoolCommand):
    """The agent is alive. Leaves no event unless the node had been lost."""

    quiet: ClassVar[bool] = True
    by_agents: ClassVar[bool] = True

    agent_id: str = Field(min_length=1, max_length=64)
    cpu_percent: float = Field(default=0.0, ge=0, le=100)
    memory_used_bytes: int = Field(default=0, ge=0)
    running_tasks: int = Field(default=0, ge=0, le=10_000_000)


class CordonNode(PoolCommand):
    """Let nothing new onto the node."""

    reason: str = Field(default="", max_length=500)


class UncordonNode(PoolCommand):
    """Let work onto a cordoned or draining node again."""

    reason: str = Field(default="", max_length=500)


class DrainNode(PoolCommand):
    """Cordon, and stop what runs there (its restart policy decides what becomes of it elsewhere)."""

    reason: str = Field(default="", max_length=500)
    grace_seconds: float | None = Field(default=None, ge=0, le=86_400)
    """Overrides each job's own grace."""


class LabelNode(PoolCommand):
    """Set labels; a None value removes one."""

    labels: dict[LabelKey, LabelValue | None] = Field(min_length=1, max_length=64)


class TaintNode(PoolCommand):
    """Replace the node's operator-set taints."""

    taints: tuple[Taint, ...] = Field(default=(), max_length=32)


class RemoveNode(PoolCommand):
    """Forget a node that runs nothing. An agent that still runs registers it again."""

    reason: str = Field(default="", max_length=500)


class EndedTasks(Model):
    """Tasks of an allocation whose processes are gone."""

    allocation_id: Identifier
    tasks: TaskRanges


class ReportAllocationsEnded(PoolCommand):
    """From the node agent: the processes of these tasks are gone, so their resources are free."""

    by_agents: ClassVar[bool] = True

    ended: tuple[EndedTasks, ...] = Field(min_length=1, max_length=10_000)
    instance_id: str = Field(default="", max_length=64)
    """The reporting agent's; allocations bound to another instance are not its to report. Empty: not checked."""


# Events


class HeldTasks(Model):
    """Tasks that hold resources of a node."""

    allocation_id: Identifier
    job_id: Identifier
    project: ProjectName
    tasks: TaskRanges
    attempt: Attempt


class NodeHoldings(Model):
    """All that is bound to a node."""

    allocations: tuple[HeldTasks, ...] = ()


class NodeRegistered(PoolEvent):
    """A node joined the pool, or its agent started anew."""

    by_agents: ClassVar[bool] = True

    spec: NodeSpec
    boot_id: str
    agent_id: str
    instance_id: str = ""
    """The registration that allocations bind to from now on; empty from agents that have none."""
    holds: NodeHoldings | None = None
    """What the pool believes to run there at this moment: the agent ends what is not in it, and reports as ended what
    it has no trace of. Not told in events from before this field."""


class NodeCordoned(PoolEvent):
    """Nothing new goes onto the node."""

    reason: str = ""


class NodeUncordoned(PoolEvent):
    """The node takes work again."""

    reason: str = ""


class NodeDraining(PoolEvent):
    """The node is being emptied."""

    reason: str = ""
    grace_seconds: float | None = Field(default=None, ge=0, le=86_400)
    """Used in place of each job's own grace; the jobs' own when left out."""


class NodeDrained(PoolEvent):
    """Nothing runs there any more."""


class NodeLost(PoolEvent):
    """No heartbeat for `silent_seconds`; its allocations are released with reason `node_lost`."""

    silent_seconds: float = Field(ge=0)


class NodeRecovered(PoolEvent):
    """A lost node's agent is back."""

    agent_id: str


class NodeLabelled(PoolEvent):
    """Labels were set; a None value removed one."""

    labels: dict[LabelKey, LabelValue | None]


class NodeTainted(PoolEvent):
    """The node's operator-set taints were replaced."""

    taints: tuple[Taint, ...]


class NodeRemoved(PoolEvent):
    """The node was forgotten."""

    reason: str = ""


class AllocationEvent(Event):
    context: ClassVar[str] = "resources"
    subject_from: ClassVar[str] = "allocation_id"
    key_from: ClassVar[str] = "pool"

    pool: Identifier
    allocation_id: Identifier
    job_id: Identifier
    project: ProjectName


class AllocationBound(AllocationEvent):
    """Resources of a node are taken for these tasks; the node's agent starts them when it reads this."""

    node_id: Identifier
    tasks: TaskRanges
    attempt: Attempt
    resources: JobResources
    """Per task."""
    devices: tuple[DeviceShare, ...] = ()
    launch: JobLaunch
    tolerations: tuple[Toleration, ...] = ()
    """The job's: a later taint with effect `no_execute` that they don't cover stops these tasks."""
    instance_id: str = ""
    """The node's registration at this moment: only the agent of that instance starts these tasks. Any agent of the
    node when empty."""


class AllocationRejected(AllocationEvent):
    """The placement no longer fits; scheduling decides again."""

    node_id: OptionalIdentifier = ""
    tasks: TaskRanges
    attempt: Attempt
    reason: str


class AllocationStopRequested(AllocationEvent):
    """The node's agent must stop these tasks: TERM, grace, KILL."""

    node_id: Identifier
    tasks: TaskRanges
    grace_seconds: float = Field(ge=0)
    reason: str = ""


class AllocationReleased(AllocationEvent):
    """Tasks gave their resources back; `rest` names those that still hold theirs."""

    node_id: Identifier
    tasks: TaskRanges
    attempt: Attempt
    rest: TaskRanges | None = None
    reason: ReleaseReason = ReleaseReason.ENDED


def total(resources: JobResources, tasks: int) -> ResourceVector:
    """The sum of `tasks` tasks' requests."""
    return ResourceVector(
        cpus=resources.cpus * tasks,
        memory_bytes=resources.memory_bytes * tasks,
        gpus=resources.gpus * tasks,
        storage_bytes=resources.storage_bytes * tasks,
        network_mbps=resources.network_mbps * tasks,
    )
