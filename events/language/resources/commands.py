"""Commands to a pool: nodes and their inventory, and what agents report of allocations."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from events.language.base import Command, Model
from events.language.common import (
    Identifier,
)
from events.language.jobs.spec import LabelKey, LabelValue
from events.language.resources.hardware import NodeSpec
from events.language.resources.models import Taint
from events.language.task_ranges import TaskRanges


class PoolCommand(Command):
    context: ClassVar[str] = "resources"
    aggregate: ClassVar[str] = "node"
    decided_by: ClassVar[str] = "pool"
    subject_from: ClassVar[str] = "node_id"
    key_from: ClassVar[str] = "pool"

    pool: Identifier
    node_id: Identifier


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
    """The agent is alive. Leaves no event unless the node had been lost; `/metrics/resources` tells how busy it is."""

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
