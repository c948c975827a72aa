"""Processes as /proc shows them: who descends from whom, how much memory they hold; and signals to them.

Part of the launcher and its wardens, so it imports nothing but the smallest of the standard library. Must not know
what a task is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping

PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A line of the process table. `ticks` is the start time since boot: with the pid it identifies a process."""

    __slots__ = ("parent", "pid", "rss", "session", "state", "ticks")

    def __init__(self, pid: int, state: str, parent: int, session: int, ticks: int, rss: int) -> None:
        self.pid = pid
        self.state = state
        self.parent = parent
        self.session = session
        self.ticks = ticks
        self.rss = rss
        """Resident bytes, shared pages included."""


def stat(pid: int) -> list[bytes]:
    """A process's line of the kernel's table from its state on, by fields; empty when there is none (any more)."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return []
    try:
        line = os.read(fd, 1024)
    except OSError:
        return []  # it ended between the two calls
    finally:
        os.close(fd)
    # pid (name) state ppid pgrp session ...: the name may hold blanks and brackets (proc_pid_stat(5))
    return line[line.rfind(b")") + 2 :].split()


def look(pid: int) -> Process | None:
    """A process, or None when there is none (any more). A zombie still is one."""
    fields = stat(pid)
    if len(fields) < 22:
        return None
    rss = int(fields[21]) * PAGE
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]), rss)


def alive(pid: int, ticks: int) -> bool:
    """Whether that very process still runs; a zombie does not."""
    try:
        os.kill(pid, 0)  # most that are asked about are gone, and this is twenty times cheaper than a look
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    process = look(pid)
    return process is not None and process.ticks == ticks and process.state not in "ZX"


def send(process: Process, number: int) -> None:
    """Signal that very process. One that is gone, or not ours to signal (a set-uid program), is passed over: a caller
    that needs it ended looks again.

    A descriptor holds on to the process while its start is looked at: since the table was read its pid may have become
    another's. Where there can't be one (no descriptor is left), there is an instant in which that may still happen.
    """
    try:
        held = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    except OSError:
        held = -1
    try:
        now = look(process.pid)
        if now is None or now.ticks != process.ticks:
            return
        if held >= 0:
            signal.pidfd_send_signal(held, number)
        else:
            os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        if held >= 0:
            os.close(held)


def table() -> dict[int, Process]:
    """All processes by pid."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = look(int(name))
            if process is not None:
                found[process.pid] = process
    return found


Children = dict[int, list[Process]]
"""Pid → the processes it is the parent of."""


def by_parent(processes: Mapping[int, Process]) -> Children:
    children: Children = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    return children


def descendants(root: int, children: Children) -> list[Process]:
    """Everything below a process, parents before children; itself left out."""
    found: list[Process] = []
    level = [root]
    while level:
        below = [child for pid in level for child in children.get(pid, ())]
        found += below
        level = [process.pid for process in below]
    return found


def proportional_memory(pids: Iterable[int]) -> int:
    """Bytes held by these processes, each shared page divided among its sharers (PSS), so that the workers a process
    forked do not count its memory once each. Dearer than `Process.rss`."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as lines:
                total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith(b"Pss:"))
        except OSError:
            continue  # ended meanwhile, or not ours to look into
    return total
