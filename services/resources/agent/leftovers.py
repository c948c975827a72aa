"""Ends an attempt's processes without its warden's help, as when that was killed: nobody else knows them any more.

They are known by what descends from the warden while it lives, by their session, by the variables they were started
with, and by having been seen below the warden before.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.resources.agent import proctree
from services.resources.agent.attempts import Attempt
from services.resources.agent.proctree import Process

PAUSE = 0.02
ROUNDS = 250
"""With the pause between them: five seconds, more than the kernel needs for a kill that it takes at all."""


@dataclass(frozen=True, slots=True)
class Prey:
    """What to look for. Pids go with their start times: a pid may be another process's by now."""

    marks: frozenset[bytes]
    """Variables, all of which its processes have unless they changed them."""
    pid: int = 0
    """The command's process, leader of its session; 0 when it is not known."""
    ticks: int = 0
    warden: int = 0
    warden_ticks: int = 0
    seen: Mapping[int, int] = field(default_factory=dict)
    """Pid → start of processes that were seen below the warden."""

    @classmethod
    def of(cls, attempt: Attempt) -> Prey:
        task = attempt.task
        marks = (
            f"FORGELOG_ALLOCATION={task.allocation_id}",
            f"FORGELOG_TASK={task.task}",
            f"FORGELOG_ATTEMPT={task.attempt}",
        )
        return cls(
            frozenset(mark.encode() for mark in marks),
            attempt.pid,
            attempt.ticks,
            attempt.warden,
            attempt.warden_ticks,
            attempt.seen,
        )


def fell(prey: Prey) -> int:
    """Kill all of the processes, the warden last; how many are left, which should be none. Blocks, for seconds."""
    left: list[int] = []
    for _ in range(ROUNDS):
        left = _left(prey, proctree.table())
        if not left:
            if prey.warden and proctree.alive(prey.warden, prey.warden_ticks):
                _kill(prey.warden, signal.SIGKILL)
            return 0
        for pid in left:
            _kill(pid, signal.SIGKILL)  # counted again, if it is still there
        time.sleep(PAUSE)
    return len(left)


def terminate(warden: int) -> None:
    """Ask everything below a warden to end."""
    for process in proctree.descendants(warden, proctree.by_parent(proctree.table())):
        _kill(process.pid, signal.SIGTERM)


def _left(prey: Prey, processes: Mapping[int, Process]) -> list[int]:
    children = proctree.by_parent(processes)
    roots = [process.pid for process in processes.values() if _belongs(prey, process, processes)]
    warden = processes.get(prey.warden)
    if warden is not None and warden.ticks == prey.warden_ticks:
        roots.append(warden.pid)
    found = set(roots)
    for root in roots:
        found |= {process.pid for process in proctree.descendants(root, children)}
    return [pid for pid in found - {prey.warden, os.getpid()} if processes[pid].state not in "ZX"]


def _belongs(prey: Prey, process: Process, processes: Mapping[int, Process]) -> bool:
    if prey.seen.get(process.pid) == process.ticks:
        return True
    if prey.pid and process.session == prey.pid:
        leader = processes.get(prey.pid)
        if leader is None or leader.ticks == prey.ticks:
            return True
    return prey.marks <= _variables(process.pid)


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # gone meanwhile, or a set-uid program


def _variables(pid: int) -> set[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return set(file.read().split(b"\0"))
    except OSError:
        return set()  # ended, or another user's
