"""Watches how much memory each task's tree holds. One look at the process table serves all tasks of the node.

A limit on the address space (RLIMIT_AS) is no help: CUDA maps far more than it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.resources.agent import proctree

LOOK_EVERY = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Excess:
    key: str
    used: int
    limit: int


def over_limit(limits: Mapping[str, tuple[int, int]]) -> list[Excess]:
    """Those that hold more than they may. `limits`: key → warden's pid, bytes. Blocks: run it in a thread."""
    children = proctree.by_parent(proctree.table())
    found = []
    for key, (warden, limit) in limits.items():
        tree = proctree.descendants(warden, children)
        if sum(process.rss for process in tree) > limit:
            # Only now the dearer question: shared pages must not count once for each that shares them.
            used = proctree.proportional_memory(process.pid for process in tree)
            if used > limit:
                found.append(Excess(key, used, limit))
    return found
