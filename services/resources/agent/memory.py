"""Looks at the processes of each task: how much memory they hold, and who they are. One look serves all of a node.

A limit on the address space (RLIMIT_AS) is no help: CUDA maps far more than it uses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.resources.agent import proctree
from services.resources.agent.attempts import Attempt

log = logging.getLogger("forgelog.agent.memory")

CHECK_EVERY = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What is below a warden."""

    processes: Mapping[int, int]
    """Pid → start (ticks)."""
    excess: int = 0
    """Bytes held, where that is more than may be; else 0."""
    stopped: bool = False
    """The warden itself has been stopped by a signal, so it watches over nothing."""


async def watch(limits: Callable[[], Mapping[str, tuple[int, int]]], seen: Callable[[str, Tree], None]) -> None:
    """Look again and again, until cancelled. `limits`: what `look` takes. `seen`: called with each tree."""
    while True:
        await asyncio.sleep(CHECK_EVERY)
        if not (wanted := limits()):
            continue
        try:
            found = await asyncio.to_thread(look, wanted)
        except OSError as error:
            log.warning("the process table can't be read: %s", error)
            continue
        for key, tree in found.items():
            seen(key, tree)


async def watch_attempts(attempts: Mapping[str, Attempt], seen: Callable[[Attempt, Tree], None]) -> None:
    """Look at those that run again and again, until cancelled. `seen`: called with each and its tree."""

    def limits() -> dict[str, tuple[int, int]]:
        running = (attempt for attempt in attempts.values() if attempt.running)
        return {attempt.key: (attempt.warden, attempt.task.memory_bytes) for attempt in running}

    def tell(key: str, tree: Tree) -> None:
        if (attempt := attempts.get(key)) is not None and attempt.running:
            seen(attempt, tree)

    await watch(limits, tell)


def look(limits: Mapping[str, tuple[int, int]]) -> dict[str, Tree]:
    """The trees of wardens. `limits`: key → warden's pid, bytes. Blocks: run it in a thread."""
    table = proctree.table()
    children = proctree.by_parent(table)
    found = {}
    for key, (warden, limit) in limits.items():
        tree = proctree.descendants(warden, children)
        excess = 0
        if sum(process.rss for process in tree) > limit:
            # Only now the dearer question: shared pages must not count once for each that shares them.
            used = proctree.proportional_memory(process.pid for process in tree)
            excess = used if used > limit else 0
        processes = {process.pid: process.ticks for process in tree}
        found[key] = Tree(processes, excess, warden in table and table[warden].state == "T")
    return found
