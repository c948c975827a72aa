"""What Linux tells of a machine's hardware in /proc and /sys: CPUs, NUMA nodes, the PCIe tree, huge pages, interfaces.

Every function takes the root that these lie in, so that a recorded machine can be read as well as this one. A file that
is missing (another kernel, a container) leaves its value out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from events.language.jobs.spec_placement import NetworkType
from events.language.resources.hardware import (
    CPUPlace,
    CPUResource,
    HugePages,
    NetworkCounters,
    NetworkResource,
    NumaNode,
    PCIeDevice,
    ResourceTopology,
)

WORDS = 200
"""Characters that hardware may say of itself; see `hardware_gpu.Words`."""

_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# include/uapi/linux/if_arp.h
_LINK_TYPES = {1: NetworkType.ETHERNET, 32: NetworkType.INFINIBAND, 772: NetworkType.LOOPBACK}
# Base classes of the PCI Code and ID Assignment Specification, and the two subclasses that matter most here.
_PCI_CLASSES = {
    0x01: "storage controller",
    0x02: "network controller",
    0x03: "display controller",
    0x06: "bridge",
    0x0C: "serial bus controller",
    0x12: "processing accelerator",
}
_PCI_SUBCLASSES = {0x0108: "nvme controller", 0x0302: "3d controller", 0x0604: "pcie bridge"}


def text(path: Path) -> str:
    """A file's content without blanks around it; empty when it can't be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """The whole number in a file, or None."""
    content = text(path)
    try:
        return int(content)
    except ValueError:
        return None


def not_negative(path: Path) -> int | None:
    """A number; None for the kernel's -1, which means "none"."""
    value = number(path)
    return value if value is not None and value >= 0 else None


def cpu(root: Path, architecture: str, threads: int) -> CPUResource:
    """The CPUs, as far as /proc/cpuinfo and /sys name them."""
    first: dict[str, str] = {}
    sockets: set[str] = set()
    cores: set[tuple[str, str]] = set()
    here: dict[str, str] = {}
    for line in [*text(root / "proc/cpuinfo").splitlines(), ""]:
        name, colon, value = line.partition(":")
        if colon:
            here[name.strip()] = value.strip()
        elif here:
            first = first or here
            if "physical id" in here and "core id" in here:
                sockets.add(here["physical id"])
                cores.add((here["physical id"], here["core id"]))
            here = {}
    caches = {(level, kind): size for level, kind, size in _caches(root)}
    speed = root / "sys/devices/system/cpu/cpu0/cpufreq"
    least, most = number(speed / "cpuinfo_min_freq"), number(speed / "cpuinfo_max_freq")
    return CPUResource(
        vendor=first.get("vendor_id", first.get("CPU implementer", ""))[:WORDS],
        model=first.get("model name", "")[:WORDS],
        architecture=architecture,
        sockets=len(sockets) or None,
        cores=len(cores) or None,
        threads=threads,
        min_mhz=least / 1000 if least else None,
        max_mhz=most / 1000 if most else None,
        l1d_cache_bytes=caches.get((1, "Data")),
        l2_cache_bytes=caches.get((2, "Unified")),
        l3_cache_bytes=caches.get((3, "Unified")),
        flags=tuple(flag[:50] for flag in first.get("flags", first.get("Features", "")).split())[:1000],
        vulnerabilities={
            path.name: text(path)[:WORDS] for path in _entries(root / "sys/devices/system/cpu/vulnerabilities")
        },
    )


def _caches(root: Path) -> Iterable[tuple[int, str, int]]:
    for path in _entries(root / "sys/devices/system/cpu/cpu0/cache", "index*"):
        level, size = number(path / "level"), re.fullmatch(r"(\d+)([KMG]?)", text(path / "size"))
        if level is not None and size is not None:
            yield level, text(path / "type"), int(size[1]) * _SIZES[size[2]]


_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


def cpu_celsius(root: Path) -> float | None:
    """The temperature of the hottest core; None where no driver has it."""
    told = [
        degrees
        for folder in _entries(root / "sys/class/hwmon", "hwmon*")
        if text(folder / "name") in _CPU_SENSORS
        for path in _entries(folder, "temp*_input")
        if (degrees := number(path)) is not None
    ]
    return max(told) / 1000 if told else None


def _entries(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _numbered(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    found = [(path.name.removeprefix(prefix), path) for path in _entries(folder, f"{prefix}[0-9]*")]
    return sorted((int(name), path) for name, path in found if name.isdigit())


def topology(root: Path) -> ResourceTopology:
    nodes = _numbered(root / "sys/devices/system/node", "node")
    near = {cpu: index for index, path in nodes for cpu in cpus_in(text(path / "cpulist"))}
    return ResourceTopology(
        numa_nodes=tuple(
            NumaNode(
                index=index,
                cpus=text(path / "cpulist"),
                memory_bytes=_node_memory(path),
                distances=tuple(int(part) for part in text(path / "distance").split()),
            )
            for index, path in nodes
        ),
        cpus=tuple(
            CPUPlace(
                cpu=index,
                core=not_negative(path / "topology/core_id") or 0,
                socket=not_negative(path / "topology/physical_package_id") or 0,
                numa_node=near.get(index),
            )
            for index, path in _numbered(root / "sys/devices/system/cpu", "cpu")
            if (path / "topology").is_dir()
        ),
        pcie=tuple(_pcie(root)),
    )


def cpus_in(ranges: str) -> list[int]:
    """``0-2,8`` → 0, 1, 2, 8."""
    found: list[int] = []
    for part in filter(None, ranges.split(",")):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def _node_memory(node: Path) -> int:
    found = re.search(r"MemTotal:\s+(\d+) kB", text(node / "meminfo"))
    return int(found[1]) << 10 if found else 0


def _pcie(root: Path) -> Iterable[PCIeDevice]:
    for path in _entries(root / "sys/bus/pci/devices"):
        parent = path.resolve().parent.name
        try:
            kind = int(text(path / "class"), 16) >> 8
        except ValueError:
            continue
        yield PCIeDevice(
            address=path.name,
            parent=parent if re.fullmatch(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", parent) else "",
            kind=_PCI_SUBCLASSES.get(kind, _PCI_CLASSES.get(kind >> 8, f"class {kind:04x}")),
            numa_node=not_negative(path / "numa_node"),
        )


def huge_pages(root: Path) -> tuple[HugePages, ...]:
    pages = []
    for path in _entries(root / "sys/kernel/mm/hugepages", "hugepages-*kB"):
        size = int(path.name.removeprefix("hugepages-").removesuffix("kB")) << 10
        total = number(path / "nr_hugepages") or 0
        pages.append(HugePages(page_bytes=size, total=total, free=min(total, number(path / "free_hugepages") or 0)))
    return tuple(sorted(pages, key=lambda one: one.page_bytes))


def network(
    root: Path, addresses: dict[str, tuple[str, ...]], offloads: Callable[[str], tuple[str, ...]]
) -> tuple[NetworkResource, ...]:
    """The interfaces. `addresses`: name → IPv4 and IPv6. `offloads`: name → what it does instead of the CPU, if it is a
    card's and no virtual one."""
    paths = _entries(root / "sys/class/net")[:256]
    return tuple(
        _interface(path, addresses.get(path.name, ()), offloads(path.name) if (path / "device").exists() else ())
        for path in paths
    )


def _interface(path: Path, addresses: tuple[str, ...], offloads: tuple[str, ...]) -> NetworkResource:
    counters = path / "statistics"
    rdma = (path / "device/infiniband").is_dir()
    kind = _LINK_TYPES.get(number(path / "type") or 0, NetworkType.OTHER)
    names = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_errors", "tx_errors")
    return NetworkResource(
        name=path.name,
        type=NetworkType.ROCE if rdma and kind is NetworkType.ETHERNET else kind,
        mac_address=text(path / "address"),
        addresses=addresses[:64],
        speed_mbps=not_negative(path / "speed"),
        mtu=not_negative(path / "mtu"),
        up=text(path / "operstate") in ("up", "unknown"),
        rdma=rdma,
        sriov=bool(number(path / "device/sriov_totalvfs")),
        offloads=offloads[:100],
        numa_node=not_negative(path / "device/numa_node"),
        counters=NetworkCounters(**{name: number(counters / name) or 0 for name in names})
        if counters.is_dir()
        else None,
    )
