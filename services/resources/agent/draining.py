"""What a task's programs logged to runs and could not send themselves: sent when the task has ended, before its end is
told, so that who reads of the end finds all of it.

A program keeps it in a folder of the task's (`forgelog.tracking.spool`). Sending is `forgelog.tracking.sender`, in a
process of its own, for the folder's content is the task's and may be anything. As long as it fails it is tried again,
with pauses that grow, until `limit` seconds after the task's end; the end is told after `FIRST_SECONDS` all the same. A
restarted agent begins anew: what was sent is known, or sent twice, which does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping
from pathlib import Path

from services.resources.agent.attempts import Attempt, plain

log = logging.getLogger("forgelog.agent.draining")

SPOOL = "spool"
"""The folder, in the task's own one; also what is left to be done at an attempt's end."""
COMMAND = (sys.executable, "-P", "-m", "forgelog.tracking.sender")
FIRST_SECONDS = 30.0
"""How long a task's end is held back."""
TRY_SECONDS = 600.0
"""Longest time of a try."""
AT_A_TIME = 2
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds between two tries; twice as long each time."""
NO_WAY = "this node's agent has no FORGELOG_GATEWAY, or no FORGELOG_TOKEN_FILE"
_SHOWN = 500


class Draining:
    """Used from the agent's event loop."""

    def __init__(
        self,
        scratch: Path,
        environment: Callable[[], Mapping[str, str]],
        first: Callable[[Attempt], None],
        settled: Callable[[Attempt, str], None],
        limit: float,
    ) -> None:
        """`scratch`: where the tasks' own folders are. `environment`: of the process that sends; empty if the node has
        no way to the platform. `first`: called when the end may be told. `settled`: called when nothing is left, or it
        is given up."""
        self._scratch = scratch
        self._environment = environment
        self._first = first
        self._settled = settled
        self._limit = limit
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._working: set[asyncio.Task[None]] = set()

    def add(self, attempt: Attempt) -> None:
        """Send what an attempt has left. Its processes have ended."""
        if not self._has_left(attempt):
            self._first(attempt)
            self._settled(attempt, SPOOL)
            return
        self._working.add(work := asyncio.create_task(self._drain(attempt)))
        work.add_done_callback(self._working.discard)

    def close(self) -> None:
        """What is under way is for the next agent."""
        for work in self._working:
            work.cancel()

    async def _drain(self, attempt: Attempt) -> None:
        assert attempt.exit is not None
        until = min(attempt.exit.ended_at, time.time()) + self._limit
        holding = asyncio.get_running_loop().call_later(FIRST_SECONDS, self._first, attempt)
        pause = FIRST_PAUSE
        try:
            while why := await self._try(attempt):
                if time.time() + pause > until:
                    log.error("%s: given up %g s after the end of %s", why, self._limit, attempt.key)
                    attempt.incomplete = True
                    break
                log.warning("%s; trying again", why)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        except asyncio.CancelledError:
            holding.cancel()
            raise
        except Exception as error:
            log.exception("what %s has logged to runs can't be sent", attempt.key, exc_info=error)
            attempt.incomplete = True
        if not holding.cancelled() and holding.when() > asyncio.get_running_loop().time():
            holding.cancel()
            self._first(attempt)
        self._settled(attempt, SPOOL)

    async def _try(self, attempt: Attempt) -> str:
        """Why not all is sent; empty if it is."""
        environment = self._environment()
        if not environment:
            return f"what {attempt.key} has logged to runs can't be sent: {NO_WAY}"
        async with self._places:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, self._folder(attempt), "--once", env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
            try:
                async with asyncio.timeout(TRY_SECONDS):
                    out, err = await process.communicate()
            except TimeoutError:
                return f"what {attempt.key} has logged to runs is not sent after {TRY_SECONDS:g} s"
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        text = plain((out + err).decode("utf-8", "replace").strip())[-_SHOWN:]
        if text:
            log.warning("%s, of what it logged to runs: %s", attempt.key, text)
        return f"what {attempt.key} has logged to runs is not all sent" if process.returncode else ""

    def _folder(self, attempt: Attempt) -> str:
        return f"{self._scratch}/{attempt.key}/{SPOOL}"

    def _has_left(self, attempt: Attempt) -> bool:
        """Whether there is something. A link in the folder's place is the task's doing, and not followed."""
        folder = self._folder(attempt)
        try:
            if os.path.islink(folder):
                return False
            with os.scandir(folder) as found:
                return any(not each.name.startswith(".") for each in found)
        except OSError:
            return False
