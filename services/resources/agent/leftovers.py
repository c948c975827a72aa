"""Ends what a warden left when it was killed itself: nobody else knows these processes any more.

Its task's processes are known by their session, and those that left it by the variables they were started with.
"""

from __future__ import annotations

import os
import signal
import time

from services.resources.agent import proctree
from services.resources.agent.attempts import Task

PAUSE = 0.02
ROUNDS = 250
"""With the pause between them: five seconds, more than the kernel needs for a kill that it takes at all."""


def fell(task: Task, session: int) -> int:
    """Kill all of the task's processes; how many are left, which should be none. Blocks: run it in a thread.

    `session`: pid of the command's process; 0 when it is not known.
    """
    marks = {
        f"FORGELOG_ALLOCATION={task.allocation_id}".encode(),
        f"FORGELOG_TASK={task.task}".encode(),
        f"FORGELOG_ATTEMPT={task.attempt}".encode(),
    }
    left: list[int] = []
    for _ in range(ROUNDS):
        left = [
            process.pid
            for process in proctree.table().values()
            if process.state not in "ZX"
            and process.pid != os.getpid()
            and ((session and process.session == session) or marks <= _variables(process.pid))
        ]
        if not left:
            return 0
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue  # counted again, if it is still there
        time.sleep(PAUSE)
    return len(left)


def _variables(pid: int) -> set[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return set(file.read().split(b"\0"))
    except OSError:
        return set()  # ended, or another user's
