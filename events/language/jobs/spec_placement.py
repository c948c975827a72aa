"""What a job asks of hardware beyond amounts, and when it may run: parts of `JobResources` and `JobScheduling`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Timestamp


class GPUInterconnect(StrEnum):
    """How GPUs of one node reach each other, slowest first."""

    PCIE = "pcie"
    NVLINK = "nvlink"
    NVSWITCH = "nvswitch"
    """All to all at full speed."""
    INFINITY_FABRIC = "infinity_fabric"
    """AMD's link."""


class GPUAllocationType(StrEnum):
    """How a job holds a GPU."""

    EXCLUSIVE = "exclusive"
    """The whole device."""
    MIG = "mig"
    """A hardware partition (Multi-Instance GPU)."""
    SHARED = "shared"
    """Time-sliced with other jobs."""


class NetworkType(StrEnum):
    """What a network interface speaks."""

    ETHERNET = "ethernet"
    INFINIBAND = "infiniband"
    ROCE = "roce"
    """RDMA over converged Ethernet."""
    LOOPBACK = "loopback"
    OTHER = "other"


class NumaPolicy(StrEnum):
    """How a task's CPUs, memory and GPUs lie to NUMA nodes."""

    ANY = "any"
    PREFERRED = "preferred"
    """On one NUMA node if possible."""
    REQUIRED = "required"
    """On one NUMA node, or wait."""


ComputeCapability = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]?\.[0-9])?$")]
"""CUDA compute capability, such as ``9.0``; empty for none."""

MigProfile = Annotated[str, StringConstraints(pattern=r"^([1-7]g\.[0-9]{1,3}gb)?$")]
"""A MIG profile as NVIDIA writes it, such as ``1g.10gb``; empty for none."""


class GPURequirements(Model):
    """What each GPU of a task must be able to do, beside type and memory."""

    compute_capability: ComputeCapability = ""
    """Least CUDA compute capability, such as ``8.0``."""
    interconnect: GPUInterconnect | None = None
    """Least link between a task's GPUs; any when left out."""
    interconnect_gbps: float = Field(default=0.0, ge=0, le=100_000)
    """Least bandwidth between any two of a task's GPUs, gigabit per second."""
    allocation: GPUAllocationType = GPUAllocationType.EXCLUSIVE
    mig_profile: MigProfile = ""
    """Which partition each GPU is, with allocation `mig`."""

    @model_validator(mode="after")
    def _mig_has_profile(self) -> GPURequirements:
        if (self.allocation is GPUAllocationType.MIG) != bool(self.mig_profile):
            raise ValueError("mig_profile and allocation 'mig' go together: set both, such as 1g.10gb, or neither")
        return self


class TopologyRequirements(Model):
    """How a task's resources lie to each other and to the network."""

    numa: NumaPolicy = NumaPolicy.ANY
    cpu_pinning: bool = False
    """Whole CPUs that no other task may use."""
    interconnect: NetworkType | None = None
    """Network between the job's nodes; any when left out."""
    rdma: bool = False
    """The network must do remote direct memory access."""
    huge_pages_bytes: int = Field(default=0, ge=0, le=1 << 50)
    """Memory from huge pages, a part of the task's memory."""


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


TimeZone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$")]
"""An IANA time zone name, such as ``Europe/Berlin`` or ``UTC``."""

ClockTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
"""A time of day, ``HH:MM``, to ``24:00``."""


class TimeWindow(Model):
    """A time of day on some days of the week; it runs past midnight when `end` is before `start`."""

    days: tuple[Weekday, ...] = Field(default=(), max_length=7)
    """On which days it begins; every day when empty."""
    start: ClockTime
    end: ClockTime
    time_zone: TimeZone = "UTC"

    @model_validator(mode="after")
    def _not_empty(self) -> TimeWindow:
        if self.start == self.end:
            raise ValueError("start and end are the same; for a whole day write start 00:00, end 24:00")
        return self


class JobTiming(Model):
    """When a job may, should and must run."""

    earliest_start: Timestamp | None = None
    deadline: Timestamp | None = None
    """When it must have ended."""
    expected_runtime_seconds: float | None = Field(default=None, gt=0, le=31_536_000)
    """The user's estimate, for backfilling and deadlines."""
    max_wait_seconds: float | None = Field(default=None, gt=0, le=31_536_000)
    """Cancelled when it has not started after waiting this long."""
    preferred_windows: tuple[TimeWindow, ...] = Field(default=(), max_length=32)
    blackout_windows: tuple[TimeWindow, ...] = Field(default=(), max_length=32)
    """It must not start in one of these."""

    @model_validator(mode="after")
    def _ends_after_start(self) -> JobTiming:
        if self.earliest_start and self.deadline and self.deadline <= self.earliest_start:
            raise ValueError("deadline is not after earliest_start; move one of them")
        return self


class JobPreemption(Model):
    """Whether a job may be stopped to make room for a more important one."""

    preemptible: bool = True
    min_runtime_seconds: float = Field(default=0.0, ge=0, le=31_536_000)
    """It is left alone for this long after each start."""
    max_preemptions: int | None = Field(default=None, ge=0, le=10_000)
    """After so many it is not preempted any more; no limit when left out."""
