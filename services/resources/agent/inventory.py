"""What the machine has, as a `NodeSpec`: from psutil, /proc and /sys (`sysfs`), statvfs and the GPU driver (`gpus`).

What can't be found out is left out. Must not know the log.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from events.language.common import ResourceVector, utc
from events.language.network import PortRange
from events.language.resources.hardware import (
    CPUState,
    GPUHealth,
    GPUResource,
    MemoryResource,
    MemoryState,
    NodeLocation,
    NodeSpec,
    NodeSystem,
    StorageMedium,
    StorageResource,
)
from services.resources.agent import disks, sysfs
from services.resources.agent.config import Config
from services.resources.agent.memory_types import memory_type
from services.resources.agent.offloads import offloads
from services.resources.agent.storage_speed import measure

ROOT = Path("/")
RUNTIMES = ("docker", "podman")
LABEL = 63
"""Characters of a label's value."""
_LOOK_SECONDS = 0.1
"""How long the CPUs are looked at to say how busy they are."""
_VIRTUAL = frozenset({"squashfs", "iso9660", "overlay", "devtmpfs"})


def describe(config: Config, gpus: Sequence[GPUResource] = (), root: Path = ROOT) -> NodeSpec:
    """The node as the agent announces it. `root` is where /proc and /sys lie."""
    number, parts = config.share
    offered = tuple(
        gpu
        for place, gpu in enumerate(gpus)
        if (place % parts == number if config.gpus is None else gpu.index in config.gpus)
    )
    threads = _threads()
    memory = psutil.virtual_memory()
    swap = psutil.swap_memory()
    return NodeSpec(
        hostname=socket.gethostname(),
        role=config.role,
        capacity=ResourceVector(
            cpus=config.cpus if config.cpus is not None else share_of_cpus(threads, number, parts),
            memory_bytes=config.memory_bytes
            if config.memory_bytes is not None
            else memory_limit(root, memory.total) // parts,
            gpus=sum(gpu.health is not GPUHealth.UNHEALTHY for gpu in offered),
            storage_bytes=_free(config.folder) // parts,
            network_mbps=config.network_mbps if config.network_mbps is not None else _bandwidth(root) // parts,
        ),
        gpus=offered,
        address=config.address,
        port_range=PortRange(first=config.own_ports[0], last=config.own_ports[-1]),
        labels={**_labels(config.node, offered), **config.labels},
        taints=config.taints,
        cpu=sysfs.cpu(root, platform.machine(), threads).model_copy(update={"state": _cpu_state(root)}),
        memory=MemoryResource(
            total_bytes=memory.total,
            type=memory_type(root),
            swap_bytes=swap.total,
            huge_pages=sysfs.huge_pages(root),
            state=MemoryState(
                available_bytes=memory.available,
                used_bytes=memory.used,
                cached_bytes=memory.cached,
                buffer_bytes=memory.buffers,
                utilization_percent=memory.percent,
            ),
        ),
        storage=_storage(config, root),
        network=sysfs.network(root, _addresses(), offloads),
        topology=sysfs.topology(root),
        location=_location(config.labels),
        system=_system(root),
    )


def _cpu_state(root: Path) -> CPUState:
    return CPUState(
        utilization_percent=psutil.cpu_percent(interval=_LOOK_SECONDS),
        load_1m=os.getloadavg()[0],
        temperature_celsius=sysfs.cpu_celsius(root),
    )


def _threads() -> int:
    """Logical CPUs this process may use: a container or a CPU set may leave it fewer than there are."""
    return len(os.sched_getaffinity(0))


def share_of_cpus(threads: int, number: int, parts: int) -> float:
    """CPUs of one of the agents that share a machine: whole ones while there are enough, so that jobs fit."""
    if threads < parts:
        return threads * 100 // parts / 100
    return float(threads // parts + (number < threads % parts))


def memory_limit(root: Path, total: int) -> int:
    """The machine's memory, or what the agent's own cgroup (v2) leaves of it."""
    for line in sysfs.text(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            limit = sysfs.number(root / "sys/fs/cgroup" / line[3:].lstrip("/") / "memory.max")
            if limit is not None:
                return min(total, limit)
    return total


def _free(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def _bandwidth(root: Path) -> int:
    """Of the fastest interface that is up; a virtual one often does not say."""
    return max((one.speed_mbps or 0 for one in sysfs.network(root, {}, lambda _: ()) if one.up), default=0)


def _labels(node: str, gpus: Sequence[GPUResource]) -> dict[str, str]:
    labels = {"hostname": node, "arch": platform.machine(), "os": platform.system().lower()}
    if gpus:
        labels |= {"gpu.model": gpus[0].name, "gpu.driver": gpus[0].driver_version}
        if gpus[0].compute_capability:
            labels["gpu.capability"] = gpus[0].compute_capability
    return {key: label_value(value) for key, value in labels.items()}


def label_value(words: str) -> str:
    """Words as a label's value: ``NVIDIA H100 80GB HBM3`` → ``NVIDIA-H100-80GB-HBM3``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-")[:LABEL]


def _storage(config: Config, root: Path) -> tuple[StorageResource, ...]:
    """The file systems on disks, and the one that tasks' folders lie on, which may be measured."""
    folder = config.folder
    found: dict[str, StorageResource] = {}
    parts = {part.mountpoint: part for part in psutil.disk_partitions(all=True)}
    own = _mount_of(folder)
    for mount, part in parts.items():
        on_disk = part.device.startswith("/dev/") and not part.device.startswith("/dev/loop")
        if mount != own and (not on_disk or part.fstype in _VIRTUAL or not Path(mount).is_dir()):
            continue
        try:
            room = os.statvfs(mount)
        except OSError:
            continue  # a network file system whose server is gone
        below = disks.stack(root, part.device)
        speed = measure(folder, config.storage_seconds) if mount == own and config.storage_seconds else None
        found[mount] = StorageResource(
            mount_point=mount,
            device=part.device,
            filesystem=part.fstype,
            medium=disks.medium(part.device, part.fstype, below),
            total_bytes=room.f_blocks * room.f_frsize,
            used_bytes=(room.f_blocks - room.f_bfree) * room.f_frsize,
            available_bytes=room.f_bavail * room.f_frsize,
            **(speed._asdict() if speed is not None else {}),
            latency_microseconds=disks.latency_microseconds(below),
            encrypted=disks.is_encrypted(below) or None,
            compressed=disks.is_compressed(part.opts) or None,
            deduplicated=disks.is_deduplicated(below) or None,
            raid_level=disks.raid_level(below)[: sysfs.WORDS],
        )
    own_first = sorted(found.values(), key=lambda one: (one.mount_point != own, one.mount_point))
    return tuple(one for one in own_first if one.total_bytes or one.medium is not StorageMedium.UNKNOWN)[:256]


def _mount_of(folder: Path) -> str:
    path = folder.resolve()
    while not os.path.ismount(path) and path != path.parent:
        path = path.parent
    return str(path)


def _addresses() -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(one.address.partition("%")[0] for one in found if one.family in (socket.AF_INET, socket.AF_INET6))
        for name, found in psutil.net_if_addrs().items()
    }


def _location(labels: Mapping[str, str]) -> NodeLocation | None:
    known = {name: labels[name] for name in ("region", "zone", "rack") if name in labels}
    return NodeLocation(**known) if known else None


def _system(root: Path) -> NodeSystem:
    release = dict(line.split("=", 1) for line in sysfs.text(root / "etc/os-release").splitlines() if "=" in line)
    return NodeSystem(
        os=release.get("PRETTY_NAME", platform.system()).strip('"')[: sysfs.WORDS],
        kernel=platform.release(),
        architecture=platform.machine(),
        container_runtime=_container_runtime(),
        python=platform.python_version(),
        agent_version=_agent_version(),
        booted_at=utc(psutil.boot_time()),
    )


def _agent_version() -> str:
    try:
        return version("forgelog")
    except PackageNotFoundError:
        return ""  # run from a source tree


def _container_runtime() -> str:
    """Such as ``docker 29.1.0``; the client's own word, so that no daemon has to answer."""
    for name in RUNTIMES:
        path = shutil.which(name)
        if path is None:
            continue
        try:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=2, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        found = re.search(r"\d+\.\d+(\.\d+)?", said)
        return f"{name} {found[0]}" if found else name
    return ""
