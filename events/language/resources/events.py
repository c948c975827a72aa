"""Events of a pool's nodes and allocations."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from events.language.base import Event, Model
from events.language.common import (
    Attempt,
    Identifier,
    OptionalIdentifier,
    ProjectName,
)
from events.language.jobs.spec import JobLaunch, JobResources, LabelKey, LabelValue, Toleration
from events.language.resources.hardware import NodeSpec
from events.language.resources.models import DeviceShare, ReleaseReason, Taint
from events.language.task_ranges import TaskRanges


class PoolEvent(Event):
    context: ClassVar[str] = "resources"
    aggregate: ClassVar[str] = "node"
    subject_from: ClassVar[str] = "node_id"
    decided_by: ClassVar[str] = "pool"
    key_from: ClassVar[str] = "pool"

    pool: Identifier
    node_id: Identifier


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

    begins: ClassVar[bool] = True

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
    aggregate: ClassVar[str] = "allocation"
    subject_from: ClassVar[str] = "allocation_id"
    decided_by: ClassVar[str] = "pool"
    key_from: ClassVar[str] = "pool"

    pool: Identifier
    allocation_id: Identifier
    job_id: Identifier
    project: ProjectName


class AllocationBound(AllocationEvent):
    """Resources of a node are taken for these tasks; the node's agent starts them when it reads this."""

    begins: ClassVar[bool] = True

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
