"""Taints, the life of allocations, and shares of devices."""

from __future__ import annotations

from enum import StrEnum

from events.language.base import Model
from events.language.common import (
    DeviceIndex,
    ResourceVector,
    TaskNumber,
)
from events.language.jobs.spec import JobResources, LabelKey, LabelValue, TaintEffect


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


def total(resources: JobResources, tasks: int) -> ResourceVector:
    """The sum of `tasks` tasks' requests."""
    return ResourceVector(
        cpus=resources.cpus * tasks,
        memory_bytes=resources.memory_bytes * tasks,
        gpus=resources.gpus * tasks,
        storage_bytes=resources.storage_bytes * tasks,
        network_mbps=resources.network_mbps * tasks,
    )
