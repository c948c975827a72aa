"""Hardware as an agent finds it: modules 2 and 3 (CPU, memory, storage, network, GPU, node)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.common import DeviceIndex, Identifier, ResourceVector
from events.language.jobspec import LabelKey, LabelValue


class NodeRole(StrEnum):
    """What a node is for. The summary names all but `storage`, the field's usual sixth (data-heavy nodes)."""

    MASTER = "master"
    """Runs the platform's own services."""
    WORKER = "worker"
    """Takes any job."""
    EDGE = "edge"
    """Near data or users, away from the cluster's network."""
    COMPUTE = "compute"
    """Takes computing jobs; what an agent announces itself as when told nothing else."""
    STORAGE = "storage"
    """Holds data sets and checkpoints."""
    INFERENCE = "inference"
    """Serves models."""


class NodeStatus(StrEnum):
    """Where a node is in its life. The allowed moves are in `NODE_MOVES`.

    The summary names `ready` and `terminating`; between them stand what operators of Kubernetes and Slurm tell apart:
    unwell, closed for new work, emptying, empty, silent, being worked on.
    """

    READY = "ready"
    """Alive; takes work."""
    NOT_READY = "not_ready"
    """Alive, but its agent says it can't take work (no disk left, driver gone)."""
    CORDONED = "cordoned"
    """Takes no new work; what runs there goes on."""
    DRAINING = "draining"
    """Takes no new work, and what runs there is being stopped."""
    DRAINED = "drained"
    """Drained and empty."""
    LOST = "lost"
    """No heartbeat for too long; its allocations count as gone."""
    MAINTENANCE = "maintenance"
    """Set aside by an operator for work on the machine."""
    TERMINATING = "terminating"
    """On its way out for good."""


class GPUResource(Model):
    """One GPU as its driver describes it (NVML)."""

    index: DeviceIndex
    uuid: Annotated[str, StringConstraints(max_length=100)]
    name: Annotated[str, StringConstraints(max_length=200)]
    memory_bytes: int = Field(ge=0)


class NodeSpec(Model):
    """A node as its agent announces it."""

    hostname: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    role: NodeRole = NodeRole.COMPUTE
    capacity: ResourceVector
    """What jobs may use: the machine's amounts less what the agent was told to hold back."""
    gpus: tuple[GPUResource, ...] = ()
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=64)
    taints: tuple[Identifier, ...] = ()
