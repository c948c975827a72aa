"""What a mounted file system lies on, as Linux tells in /sys/class/block: its block device and those below (a
partition's disk, parts of a RAID, volumes of the device mapper)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from events.language.resources.hardware import StorageMedium
from services.resources.agent.sysfs import number, text

_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "gpfs", "beegfs", "9p", "fuse.sshfs")
_COMPRESSING = re.compile(r"(?:compress|compress-force|compression|compress_algorithm)(?:=(?!no\b|none\b|lzo:0).*)?")
"""Options of mounts of btrfs, bcachefs and f2fs."""


def stack(root: Path, device: str) -> tuple[Path, ...]:
    """The folders of a device and of all that it lies on, each once; none of what is no block device."""
    if not device.startswith("/dev/"):
        return ()
    blocks = root / "sys/class/block"
    name = device.removeprefix("/dev/")
    if name.startswith("mapper/"):
        mapped, called = name.removeprefix("mapper/"), sorted(blocks.glob("dm-*/dm/name"))
        name = next((path.parent.parent.name for path in called if text(path) == mapped), "")
    found: dict[Path, None] = {}
    waiting = [(blocks / name.replace("/", "!")).resolve()] if name else []
    while waiting:
        path = waiting.pop(0)
        if path in found or not path.is_dir():
            continue
        found[path] = None
        if (path / "partition").exists():
            waiting.append(path.parent)
        waiting += [each.resolve() for each in sorted((path / "slaves").glob("*"))]
    return tuple(found)


def medium(device: str, filesystem: str, below: Sequence[Path]) -> StorageMedium:
    """Of a file system whose device's `stack` is `below`. Of a mix of disks: the slowest."""
    if filesystem in ("tmpfs", "ramfs"):
        return StorageMedium.MEMORY
    if filesystem in _NETWORK_FILE_SYSTEMS:
        return StorageMedium.NETWORK
    if device.startswith("/dev/nvme"):
        return StorageMedium.NVME
    disks = [path for path in below if not (path / "partition").exists() and not any((path / "slaves").glob("*"))]
    spins = [number(path / "queue/rotational") for path in disks]
    if not spins or None in spins:
        return StorageMedium.UNKNOWN
    if any(spins):
        return StorageMedium.HDD
    return StorageMedium.NVME if all(path.name.startswith("nvme") for path in disks) else StorageMedium.SSD


def is_encrypted(below: Sequence[Path]) -> bool:
    """By dm-crypt, as LUKS is."""
    return any(text(path / "dm/uuid").startswith("CRYPT-") for path in below)


def is_deduplicated(below: Sequence[Path]) -> bool:
    """By VDO, alone or as a pool of LVM."""
    return any(re.fullmatch(r"VDO-.*|LVM-.*-vpool", text(path / "dm/uuid")) for path in below)


def is_compressed(options: str) -> bool:
    """By its file system, as the options of its mount say."""
    return any(_COMPRESSING.fullmatch(option) for option in options.split(","))


def raid_level(below: Sequence[Path]) -> str:
    """Of the uppermost software RAID."""
    return next((level for path in below if (level := text(path / "md/level"))), "")


def latency_microseconds(below: Sequence[Path]) -> float | None:
    """Of a request to the device, on average since the machine started, waiting included; None: there was none."""
    if not below:
        return None
    # Documentation/block/stat.rst: reads, ..., milliseconds of reads, writes, ..., milliseconds of writes
    told = [int(part) for part in text(below[0] / "stat").split() if part.isdigit()]
    if len(told) < 8 or not told[0] + told[4]:
        return None
    return round((told[3] + told[7]) * 1000 / (told[0] + told[4]), 3)
