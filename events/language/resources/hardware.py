"""Hardware as an agent finds it: modules 2 and 3 (CPU, memory, storage, network, GPU, topology, node).

What does not change while a node is up is part of its `NodeSpec`. Readings (temperature, utilization) are taken apart
in `...State` models, as of the announcement; they never decide a placement. What an agent can't find out it leaves out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.common import Identifier, ResourceVector, Timestamp
from events.language.jobs.spec import LabelKey, LabelValue
from events.language.jobs.spec_placement import NetworkType
from events.language.network import Address, PortRange
from events.language.resources.hardware_gpu import (
    Bytes,
    Celsius,
    Count,
    GPUDevice,
    GPUHealth,
    GPUPeer,
    GPUResource,
    GPUState,
    MigInstance,
    NumaIndex,
    Percent,
    Words,
)

__all__ = [
    "CPUPlace",
    "CPUResource",
    "CPUState",
    "ClusterState",
    "GPUDevice",
    "GPUHealth",
    "GPUPeer",
    "GPUResource",
    "GPUState",
    "HugePages",
    "MemoryResource",
    "MemoryState",
    "MemoryType",
    "MigInstance",
    "NetworkCounters",
    "NetworkResource",
    "NodeLocation",
    "NodeRole",
    "NodeSpec",
    "NodeStatus",
    "NodeSystem",
    "NumaNode",
    "PCIeDevice",
    "ResourceTopology",
    "ResourceType",
    "StorageMedium",
    "StorageResource",
]


class ResourceType(StrEnum):
    """The kinds of resources a node has."""

    GPU = "gpu"
    CPU = "cpu"
    MEMORY = "memory"
    STORAGE = "storage"
    NETWORK = "network"


class ClusterState(StrEnum):
    """Where a cluster is in its life. The summary names `active` and `terminating`; between them stand the states that
    managed clusters (EKS, GKE, Slurm's cloud nodes) tell apart."""

    ACTIVE = "active"
    """Takes jobs."""
    PROVISIONING = "provisioning"
    """Being set up."""
    UPDATING = "updating"
    """Takes jobs while its software changes."""
    SCALING = "scaling"
    """Takes jobs while nodes come or go."""
    DEGRADED = "degraded"
    """Takes jobs, but a part of it is down."""
    MAINTENANCE = "maintenance"
    """Takes no jobs."""
    TERMINATING = "terminating"
    """On its way out for good."""


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


class CPUState(Model):
    """A CPU's readings."""

    utilization_percent: Percent | None = None
    load_1m: float | None = Field(default=None, ge=0, le=1_000_000)
    """Mean length of the run queue over a minute."""
    temperature_celsius: Celsius | None = None


class CPUResource(Model):
    """The CPUs of a node (all of one kind)."""

    vendor: Words = ""
    model: Words = ""
    architecture: Words = ""
    """As `uname -m` says: ``x86_64``, ``aarch64``."""
    sockets: int | None = Field(default=None, ge=1, le=4096)
    cores: int | None = Field(default=None, ge=1, le=1_000_000)
    """Physical cores of all sockets."""
    threads: int = Field(ge=1, le=1_000_000)
    """Logical CPUs."""
    min_mhz: float | None = Field(default=None, ge=0, le=1_000_000)
    max_mhz: float | None = Field(default=None, ge=0, le=1_000_000)
    l1d_cache_bytes: Bytes | None = None
    """Of one core."""
    l2_cache_bytes: Bytes | None = None
    """Of one core."""
    l3_cache_bytes: Bytes | None = None
    """Of one socket."""
    flags: tuple[Annotated[str, StringConstraints(max_length=50)], ...] = Field(default=(), max_length=1000)
    """Instruction sets and features as the kernel names them (``avx512f``, ``amx_tile``)."""
    vulnerabilities: dict[str, Words] = Field(default_factory=dict, max_length=100)
    """Name → the kernel's word on it (``spectre_v2`` → ``Mitigation: ...``)."""
    state: CPUState | None = None


class MemoryType(StrEnum):
    """What memory is made of."""

    DDR3 = "ddr3"
    DDR4 = "ddr4"
    DDR5 = "ddr5"
    LPDDR5 = "lpddr5"
    HBM2 = "hbm2"
    HBM3 = "hbm3"
    UNKNOWN = "unknown"
    """Only root may ask the firmware."""


class HugePages(Model):
    """Pages of one size set aside at boot."""

    page_bytes: Bytes
    total: int = Field(ge=0, le=1 << 40)
    free: int = Field(ge=0, le=1 << 40)


class MemoryState(Model):
    """Memory in use."""

    available_bytes: Bytes | None = None
    """What new processes could have without swapping."""
    used_bytes: Bytes | None = None
    cached_bytes: Bytes | None = None
    buffer_bytes: Bytes | None = None
    utilization_percent: Percent | None = None


class MemoryResource(Model):
    """A node's main memory."""

    total_bytes: Bytes
    type: MemoryType = MemoryType.UNKNOWN
    swap_bytes: Bytes = 0
    huge_pages: tuple[HugePages, ...] = Field(default=(), max_length=16)
    state: MemoryState | None = None


class StorageMedium(StrEnum):
    """What a file system lies on."""

    HDD = "hdd"
    SSD = "ssd"
    NVME = "nvme"
    MEMORY = "memory"
    NETWORK = "network"
    UNKNOWN = "unknown"


class StorageResource(Model):
    """A file system of a node."""

    mount_point: Annotated[str, StringConstraints(max_length=4096)]
    device: Annotated[str, StringConstraints(max_length=4096)] = ""
    filesystem: Words = ""
    medium: StorageMedium = StorageMedium.UNKNOWN
    total_bytes: Bytes
    used_bytes: Bytes = 0
    available_bytes: Bytes = 0
    """To processes that are not root's."""
    read_iops: float | None = Field(default=None, ge=0, le=1e9)
    """Random reads of 4 KiB a second, one after the other, if measured: by an agent that is told to. The next three
    are too; bytes are read and written in pieces of 1 MiB."""
    write_iops: float | None = Field(default=None, ge=0, le=1e9)
    read_bytes_per_second: float | None = Field(default=None, ge=0, le=1e15)
    write_bytes_per_second: float | None = Field(default=None, ge=0, le=1e15)
    latency_microseconds: float | None = Field(default=None, ge=0, le=1e9)
    """Of a request to its device, on average since the machine started."""
    encrypted: bool | None = None
    compressed: bool | None = None
    deduplicated: bool | None = None
    raid_level: Words = ""
    """Of Linux's software RAID, such as ``raid1``; empty for none."""


class NetworkCounters(Model):
    """What went through an interface since it came up."""

    rx_bytes: Count = 0
    tx_bytes: Count = 0
    rx_packets: Count = 0
    tx_packets: Count = 0
    rx_errors: Count = 0
    tx_errors: Count = 0


class NetworkResource(Model):
    """A network interface of a node."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    type: NetworkType = NetworkType.ETHERNET
    mac_address: Annotated[str, StringConstraints(max_length=64)] = ""
    addresses: tuple[Annotated[str, StringConstraints(max_length=64)], ...] = Field(default=(), max_length=64)
    """IPv4 and IPv6."""
    speed_mbps: int | None = Field(default=None, ge=0, le=10_000_000)
    """Link speed, megabit per second."""
    mtu: int | None = Field(default=None, ge=0, le=1_000_000)
    """Largest packet, bytes."""
    up: bool = True
    rdma: bool = False
    sriov: bool = False
    """It can be split into virtual functions."""
    offloads: tuple[Words, ...] = Field(default=(), max_length=100)
    """What it does instead of the CPU, as ethtool names it."""
    numa_node: NumaIndex | None = None
    counters: NetworkCounters | None = None


class NumaNode(Model):
    """CPUs and memory that are near each other."""

    index: NumaIndex
    cpus: Annotated[str, StringConstraints(max_length=10_000)] = ""
    """Logical CPUs as ranges: ``0-15,32-47``."""
    memory_bytes: Bytes = 0
    distances: tuple[Annotated[int, Field(ge=0, le=65_535)], ...] = Field(default=(), max_length=4096)
    """To each NUMA node in turn, 10 for itself (ACPI SLIT)."""


class CPUPlace(Model):
    """Where a logical CPU is."""

    cpu: int = Field(ge=0, le=1_000_000)
    core: int = Field(ge=0, le=1_000_000)
    socket: int = Field(ge=0, le=4096)
    numa_node: NumaIndex | None = None


class PCIeDevice(Model):
    """A device on the PCIe tree; switches are devices too."""

    address: Annotated[str, StringConstraints(max_length=32)]
    parent: Annotated[str, StringConstraints(max_length=32)] = ""
    """Address of the bridge or switch above; empty at the root."""
    kind: Words = ""
    """Class, such as ``3d controller`` or ``bridge``."""
    numa_node: NumaIndex | None = None


class ResourceTopology(Model):
    """How a node's hardware hangs together. Links between GPUs are in each `GPUResource.peers`."""

    numa_nodes: tuple[NumaNode, ...] = Field(default=(), max_length=4096)
    cpus: tuple[CPUPlace, ...] = Field(default=(), max_length=16_384)
    pcie: tuple[PCIeDevice, ...] = Field(default=(), max_length=10_000)


class NodeLocation(Model):
    """Where a node stands."""

    region: Words = ""
    zone: Words = ""
    rack: Words = ""


class NodeSystem(Model):
    """What a node runs."""

    os: Words = ""
    """Such as ``Debian GNU/Linux 13``."""
    kernel: Words = ""
    architecture: Words = ""
    container_runtime: Words = ""
    """Such as ``docker 29.1``; empty when there is none."""
    python: Words = ""
    agent_version: Words = ""
    booted_at: Timestamp | None = None


LAUNCHER_LABEL = "forgelog.io/launcher"
"""Label of a node: how its agent starts tasks, ``compiled`` or ``pure`` (in Python)."""


class NodeSpec(Model):
    """A node as its agent announces it."""

    hostname: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    role: NodeRole = NodeRole.COMPUTE
    capacity: ResourceVector
    """What jobs may use: the machine's amounts less what the agent was told to hold back."""
    gpus: tuple[GPUResource, ...] = ()
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=64)
    taints: tuple[Identifier, ...] = ()
    cpu: CPUResource | None = None
    memory: MemoryResource | None = None
    storage: tuple[StorageResource, ...] = Field(default=(), max_length=256)
    network: tuple[NetworkResource, ...] = Field(default=(), max_length=256)
    topology: ResourceTopology | None = None
    location: NodeLocation | None = None
    system: NodeSystem | None = None
    address: Address = ""
    """By which tasks of services are called on this node; empty from agents that tell none."""
    port_range: PortRange | None = None
    """From which its services get their ports."""
