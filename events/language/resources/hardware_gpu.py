"""GPUs as their driver describes them, and the quantities that all hardware models use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.common import DeviceIndex, Identifier, OptionalIdentifier, TaskNumber
from events.language.jobs.spec_placement import ComputeCapability, GPUAllocationType, GPUInterconnect, MigProfile

Bytes = Annotated[int, Field(ge=0, le=1 << 62)]
Percent = Annotated[float, Field(ge=0, le=100)]
Celsius = Annotated[float, Field(ge=-100, le=300)]
Count = Annotated[int, Field(ge=0, le=1 << 62)]
"""Of something that only grows."""
NumaIndex = Annotated[int, Field(ge=0, le=4095)]
Words = Annotated[str, StringConstraints(max_length=200)]
"""What hardware says of itself: a vendor, a model, a version."""


class GPUHealth(StrEnum):
    """Whether a GPU can be trusted."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Works, but throttled or with corrected errors beyond the usual."""
    UNHEALTHY = "unhealthy"
    """Must not be given to jobs: uncorrected errors, fallen off the bus."""
    UNKNOWN = "unknown"
    """The driver does not say."""


class GPUState(Model):
    """A GPU's readings."""

    temperature_celsius: Celsius | None = None
    power_watts: float | None = Field(default=None, ge=0, le=100_000)
    utilization_percent: Percent | None = None
    memory_used_bytes: Bytes | None = None
    ecc_corrected_errors: Count | None = None
    """Since the driver was loaded."""
    ecc_uncorrected_errors: Count | None = None
    pcie_replay_errors: Count | None = None


class GPUPeer(Model):
    """A link to another GPU of the node."""

    index: DeviceIndex
    interconnect: GPUInterconnect
    links: int = Field(default=1, ge=1, le=1024)
    """Parallel links, such as 18 NVLinks."""
    bandwidth_gbps: float | None = Field(default=None, ge=0, le=1_000_000)
    """All links together, one way, gigabit per second."""


class MigInstance(Model):
    """A hardware partition of a GPU."""

    uuid: Annotated[str, StringConstraints(max_length=100)]
    profile: MigProfile
    memory_bytes: Bytes


class GPUResource(Model):
    """One GPU as its driver describes it (NVML)."""

    index: DeviceIndex
    uuid: Annotated[str, StringConstraints(max_length=100)]
    name: Annotated[str, StringConstraints(max_length=200)]
    memory_bytes: int = Field(ge=0)
    vendor: Words = ""
    pci_bus_id: Annotated[str, StringConstraints(max_length=32)] = ""
    """Such as ``00000000:18:00.0``."""
    numa_node: NumaIndex | None = None
    compute_capability: ComputeCapability = ""
    cuda_cores: int | None = Field(default=None, ge=0, le=10_000_000)
    tensor_cores: int | None = Field(default=None, ge=0, le=10_000_000)
    driver_version: Words = ""
    cuda_version: Words = ""
    """Highest CUDA version the driver supports."""
    power_limit_watts: float | None = Field(default=None, ge=0, le=100_000)
    mig_supported: bool = False
    mig_enabled: bool = False
    mig_instances: tuple[MigInstance, ...] = Field(default=(), max_length=64)
    peers: tuple[GPUPeer, ...] = Field(default=(), max_length=1024)
    health: GPUHealth = GPUHealth.UNKNOWN
    state: GPUState | None = None


class GPUDevice(Model):
    """A GPU and who holds it: the pool's view."""

    node_id: Identifier
    gpu: GPUResource
    allocation_type: GPUAllocationType = GPUAllocationType.EXCLUSIVE
    allocation_id: OptionalIdentifier = ""
    """Empty when it is free."""
    job_id: OptionalIdentifier = ""
    task: TaskNumber | None = None
