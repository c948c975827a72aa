"""Which process it is, also for one that did not start it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Identity:
    """The unique identity of a process: the system reuses a pid alone."""

    pid: int
    started: str
    """When, in the kernel's own terms; see `_start_mark`."""

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Raises psutil.NoSuchProcess."""
        return cls(pid, _start_mark(pid))

    def process(self) -> psutil.Process | None:
        """The living process, or None when it has ended (a zombie has) or its pid is another's now."""
        try:
            process = psutil.Process(self.pid)
            if _start_mark(self.pid) != self.started or process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process
        except psutil.NoSuchProcess:
            return None

    @property
    def alive(self) -> bool:
        return self.process() is not None


def _start_mark(pid: int) -> str:
    """When a process was started. Raises psutil.NoSuchProcess.

    On Linux the boot and the clock ticks since then: a time of day would change whenever the clock is corrected.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{_boot()}+{fields[19]}"  # proc(5): starttime is field 22, and two come before the ")"
    except ProcessLookupError:  # it ended between the opening and the reading
        raise psutil.NoSuchProcess(pid) from None
    except FileNotFoundError:
        return f"{psutil.Process(pid).create_time():.2f}"  # no such process, or no Linux


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
