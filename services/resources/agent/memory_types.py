"""What a machine's memory is made of: as the driver of its memory controller says (EDAC), else as the firmware's tables
do, which only root may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from events.language.resources.hardware import MemoryType
from services.resources.agent.sysfs import text

_WORDS = (
    ("low-power-ddr5", MemoryType.LPDDR5),
    ("low-power", MemoryType.UNKNOWN),
    ("ddr3", MemoryType.DDR3),
    ("ddr4", MemoryType.DDR4),
    ("ddr5", MemoryType.DDR5),
    ("high-bandwidth-memory-gen2", MemoryType.HBM2),
    ("high-bandwidth-memory-gen3", MemoryType.HBM3),
)
"""Parts of what drivers/edac/edac_mc.c calls the types."""

_MEMORY_DEVICE, _TYPE_AT, _END = 17, 0x12, 127
_FIRMWARE = {
    0x18: MemoryType.DDR3,
    0x1A: MemoryType.DDR4,
    0x21: MemoryType.HBM2,
    0x22: MemoryType.DDR5,
    0x23: MemoryType.LPDDR5,
    0x24: MemoryType.HBM3,
}
"""SMBIOS 3.7, 7.18.2."""


def memory_type(root: Path) -> MemoryType:
    """Of the first module that is told of."""
    for path in sorted(root.glob("sys/devices/system/edac/mc/mc*/dimm*/dimm_mem_type")):
        said = text(path).lower()
        found = next((kind for word, kind in _WORDS if word in said), MemoryType.UNKNOWN)
        if found is not MemoryType.UNKNOWN:
            return found
    try:
        table = (root / "sys/firmware/dmi/tables/DMI").read_bytes()
    except OSError:
        return MemoryType.UNKNOWN
    told = (_FIRMWARE.get(each[_TYPE_AT]) for each in _structures(table) if each[0] == _MEMORY_DEVICE)
    return next((kind for kind in told if kind is not None), MemoryType.UNKNOWN)


def _structures(table: bytes) -> Iterator[bytes]:
    """The fixed parts of the tables' structures, long enough for a memory device's type. Texts follow each, and two
    zeros."""
    start = 0
    while start + 4 <= len(table):
        kind, length = table[start], table[start + 1]
        if length < 4 or kind == _END:
            return
        if length > _TYPE_AT:
            yield table[start : start + length]
        end = table.find(b"\0\0", start + length)
        if end < 0:
            return
        start = end + 2
