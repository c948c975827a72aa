"""Ends an attempt's processes without its warden's help, as when that was killed: nobody else knows them any more.

They are known by what descends from the warden while it lives, by their session, by the variables they were started
with, and by having been seen below the warden before.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.resources.agent import proctree
from services.resources.agent.attempts import Attempt
from services.resources.agent.proctree import Process

log = logging.getLogger("forgelog.agent.leftovers")

AGAIN = 1.0
"""Seconds until processes that could not be looked for or killed are tried again."""
PAUSE = 0.02
ROUNDS = 250
"""With the pause between them: five seconds, more than the kernel needs for a kill that it takes at all."""


@dataclass(frozen=True, slots=True)
class Prey:
    """What to look for. Pids go with their start times: a pid may be another process's by now."""

    marks: frozenset[bytes]
    """Environment variables of its processes, unless they changed them."""
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


async def dealt_with(attempt: Attempt, deal: Callable[[Prey], int]) -> int:
    """What `deal` says of the attempt's processes, once they can be looked for."""
    while True:
        try:
            return await asyncio.to_thread(deal, Prey.of(attempt))
        except OSError as error:
            log.warning("the processes of %s can't be looked for (%s); trying again", attempt.key, error)
            await asyncio.sleep(AGAIN)


def lives(attempt: Attempt) -> bool:
    """Whether a process of the attempt that is known runs; its warden aside."""
    known = {attempt.pid: attempt.ticks, **attempt.seen}
    return any(pid not in (0, attempt.warden) and proctree.alive(pid, ticks) for pid, ticks in known.items())


def fell(prey: Prey) -> int:
    """Kill all of the processes, the warden last; how many are left, which should be none. Blocks, for seconds."""
    left: list[Process] = []
    for _ in range(ROUNDS):
        processes = proctree.table()
        left = _left(prey, processes)
        if not left:
            warden = _warden(prey, processes)
            if warden is not None:
                proctree.send(warden, signal.SIGKILL)
            return 0
        for process in left:
            proctree.send(process, signal.SIGKILL)  # counted again, if it is still there
        time.sleep(PAUSE)
    return len(left)


def count(prey: Prey) -> int:
    """How many of its processes run, its warden aside."""
    return len(_left(prey, proctree.table()))


def terminate(prey: Prey) -> None:
    """Ask everything below the warden to end."""
    processes = proctree.table()
    if _warden(prey, processes) is not None:
        for process in proctree.descendants(prey.warden, proctree.by_parent(processes)):
            proctree.send(process, signal.SIGTERM)


def _warden(prey: Prey, processes: Mapping[int, Process]) -> Process | None:
    warden = processes.get(prey.warden)
    return warden if warden is not None and warden.ticks == prey.warden_ticks else None


def _left(prey: Prey, processes: Mapping[int, Process]) -> list[Process]:
    children = proctree.by_parent(processes)
    roots = [process.pid for process in processes.values() if _belongs(prey, process, processes)]
    spared = {os.getpid()}
    if (warden := _warden(prey, processes)) is not None:
        roots.append(warden.pid)
        spared.add(warden.pid)
    found = set(roots)
    for root in roots:
        found |= {process.pid for process in proctree.descendants(root, children)}
    return [processes[pid] for pid in found - spared if processes[pid].state not in "ZX"]


def _belongs(prey: Prey, process: Process, processes: Mapping[int, Process]) -> bool:
    if prey.seen.get(process.pid) == process.ticks:
        return True
    if prey.pid and process.session == prey.pid:
        leader = processes.get(prey.pid)
        if leader is None or leader.ticks == prey.ticks:
            return True
    return prey.marks <= _variables(process.pid)


def _variables(pid: int) -> set[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return set(file.read().split(b"\0"))
    except OSError:
        return set()  # ended, or another user's
