"""Hardware as an agent finds it: modules 2 and 3 (CPU, memory, storage, network, GPU, node)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.common import DeviceIndex, Identifier, ResourceVector
from events.language.jobspec import LabelKey, LabelValue


class NodeRole(StrEnum):
    MASTER = "master"
    WORKER = "worker"
    EDGE = "edge"
    COMPUTE = "compute"
    STORAGE = "storage"
    INFERENCE = "inference"


class NodeStatus(StrEnum):
    """The allowed moves are in `NODE_MOVES`."""

    READY = "ready"
    NOT_READY = "not_ready"
    CORDONED = "cordoned"
    DRAINING = "draining"
    DRAINED = "drained"
    LOST = "lost"
    MAINTENANCE = "maintenance"
    TERMINATING = "terminating"


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
