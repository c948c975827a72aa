"""Processes of a stage, as Linux shows them: who descends from its executor, how much memory they hold; ending them.

Elsewhere than on Linux `psutil` is asked, which is slower. It is imported then: workers start without it.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether the kernel tells a thread's children (CONFIG_PROC_CHILDREN)."""
_STATM = Path("/proc/self/statm").exists()
"""Whether it tells a process's memory."""

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
"""prctl(2)"""


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none is lost sight of. Does nothing where the
    system has no such thing."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Be killed when the parent ends, however it does."""
    parent = os.getppid()
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """Pids below a process, parents first. Empty when it is gone."""
    found: list[int] = []
    left = [pid]
    while left:
        below = children(left.pop())
        found += below
        left += below
    return found


def children(pid: int) -> list[int]:
    """Pids of a process's children, those included that have ended and were not awaited. Empty when it is gone."""
    if not _CHILDREN:
        import psutil

        try:
            return [each.pid for each in psutil.Process(pid).children()]
        except psutil.Error:
            return []
    found: list[int] = []
    with suppress(OSError):  # it ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())
    return found


def memory_of(pids: Iterable[int], limit: int) -> int:
    """Bytes that processes hold together. If that seems more than `limit`, pages that they share count once."""
    pids = list(pids)
    resident = sum(map(_resident, pids))
    return resident if resident <= limit else sum(map(_proportional, pids))


def _resident(pid: int) -> int:
    """0 of one that has ended, or is about to."""
    if not _STATM:
        import psutil

        with suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    return 0


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass  # it has ended, or the kernel does not say
    return _resident(pid)


def end(pid: int) -> int:
    """Kill a process and all below it; how many were below. Those that are made meanwhile are met by the next look,
    since the executor adopts them."""
    below = descendants(pid)
    for each in (pid, *below):
        kill(each)
    return len(below)


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def end_below(pid: int) -> int:
    """Kill all that is below a process, until nothing is; how many that were. The process itself goes on, and reaps
    them."""
    ended: set[int] = set()
    while left := [each for each in descendants(pid) if each not in ended]:
        for each in left:
            kill(each)
        ended.update(left)
    return len(ended)


class Peak:
    """The most memory that this process has held since it was last asked to begin anew."""

    def begin(self) -> None:
        """Count from here on, where the system can."""
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        """Resident bytes at the highest; 0 where the system does not say."""
        with suppress(OSError):
            for line in Path("/proc/self/status").read_bytes().splitlines():
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) << 10
        return 0
