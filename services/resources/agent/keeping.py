"""Files that a job keeps: found in a task's working folder when the task has ended, and put into the object store.

1. Collect what the job's patterns fit (`events.objects.collecting`), with digests.
2. Send what the platform does not have, and the manifest (`events.objects.sending`).
3. Report the manifest. Until the log has that report, the attempt is not settled, so its folders stay, and a restarted
   agent finds them and begins anew: what was sent is there, so only reading is repeated.

What fails by the network or the store is tried again, with pauses that grow, until `limit` seconds after the task's
end. What is given up is reported too, with the reason, and the folders are kept as those of failed tasks are.

A folder may be others' too, such as the caller's own, where the next attempt writes by now. A file that is not any more
what it was when it was collected is left out: it is the other's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from events.language.jobs import TaskOutputs
from events.language.jobs.models import MAX_OUTPUTS_MESSAGE
from events.language.objects import ObjectRef
from events.objects.collecting import Collected, collect
from events.objects.remote import RemoteError, RemoteObjects, RemoteStopped
from events.objects.sending import FilesChanged, send_bundle
from services.resources.agent.attempts import Attempt, Task, plain
from services.resources.agent.config import OUTPUTS_SECONDS
from services.resources.agent.environment import NoWayToObjects
from services.resources.agent.warden import WORK

log = logging.getLogger("forgelog.agent.keeping")

AT_A_TIME = 2
"""Attempts whose files are collected and sent."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds between two tries; twice as long each time."""


class Keeping:
    """Used from the agent's event loop. A task is made when there is something to keep, and threads are too."""

    def __init__(
        self,
        scratch: Path,
        code: Path,
        remote: Callable[[threading.Event], RemoteObjects],
        done: Callable[[Attempt], None],
        excluded: Collection[Path],
        limit: float = OUTPUTS_SECONDS,
    ) -> None:
        """`scratch`, `code`: where the tasks' own folders and their copies of uploaded code are. `remote`: the
        platform's objects; raises NoWayToObjects. `done` is called once an attempt's `outputs` are known. `excluded`:
        folders that nothing is kept of."""
        self._scratch = scratch
        self._code = code
        self._remote = remote
        self._done = done
        self._excluded = excluded
        self._limit = limit
        self._threads = ThreadPoolExecutor(AT_A_TIME, "keep")
        self._stopped = threading.Event()
        self._working: set[asyncio.Task[None]] = set()

    def add(self, attempt: Attempt) -> None:
        """Keep its files. Its processes have ended."""
        self._working.add(work := asyncio.create_task(self._keep(attempt)))
        work.add_done_callback(self._working.discard)

    def close(self) -> None:
        """What is under way is for the next agent."""
        self._stopped.set()
        for work in self._working:
            work.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _keep(self, attempt: Attempt) -> None:
        try:
            outputs = await self._outputs(attempt)
        except RemoteStopped:
            return
        except Exception as error:
            log.exception("the files that %s leaves can't be kept", attempt.key)
            outputs = self._nothing(attempt, f"its node's agent met an error: {type(error).__name__}: {error}")
        attempt.outputs = outputs
        self._done(attempt)

    async def _outputs(self, attempt: Attempt) -> TaskOutputs:
        assert attempt.exit is not None
        until = min(attempt.exit.ended_at, time.time()) + self._limit
        pause = FIRST_PAUSE
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._once, attempt)
            except RemoteStopped:
                raise
            except (RemoteError, OSError) as error:
                why = f"{error}" if isinstance(error, RemoteError) else f"{error.strerror or error}"
            if time.time() + pause > until:
                why = f"{why}; given up {self._limit:g} s after its end"
                log.error("the files that %s leaves can't be kept: %s", attempt.key, why)
                return self._nothing(attempt, why)
            log.warning("the files that %s leaves can't be kept yet: %s; trying again", attempt.key, why)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _once(self, attempt: Attempt) -> TaskOutputs:
        """Blocks. Raises RemoteError."""
        task = attempt.task
        try:
            remote = self._remote(self._stopped)
        except NoWayToObjects as error:
            return self._nothing(attempt, str(error))
        try:
            found = collect(self._folder(task), task.keep, self._excluded, self._check_stopped)
        except OSError as error:
            return self._nothing(attempt, f"its working folder can't be entered: {error.strerror}")
        manifest = self._send(found, remote)
        files = found.manifest.files
        attempt.incomplete = bool(found.left_out.count)
        if manifest is None:
            why = _told(found) or f"no file fits {', '.join(task.keep)}"
            return _outputs(attempt, why, left_out=found.left_out.count)
        return TaskOutputs(
            task=task.task,
            attempt=task.attempt,
            manifest=manifest,
            files=len(files),
            total_bytes=found.manifest.total_bytes,
            left_out=found.left_out.count,
            message=_fitting(_told(found)),
        )

    def _folder(self, task: Task) -> Path:
        """Where it ran. Its own folders are no links, whatever it has put there; one that its job names may be one."""
        own = self._scratch / task.key / WORK, self._code / task.key
        folder = Path(task.folder) if task.folder else own[0]
        return folder if folder in own else Path(os.path.realpath(folder))

    @staticmethod
    def _send(found: Collected, remote: RemoteObjects) -> ObjectRef | None:
        """The manifest; None if no file is left. Leaves out what is not there any more as it was collected."""
        while found.manifest.files:
            try:
                return send_bundle(found.manifest, found.open, remote)
            except FilesChanged as changed:
                found.leave_out(changed.reasons)
        return None

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise RemoteStopped("the agent stops")

    @staticmethod
    def _nothing(attempt: Attempt, why: str) -> TaskOutputs:
        """None are kept, and the folders stay for a while."""
        attempt.incomplete = True
        return _outputs(attempt, f"nothing is kept: {why}")


def _outputs(attempt: Attempt, why: str, *, left_out: int = 0) -> TaskOutputs:
    task = attempt.task
    return TaskOutputs(task=task.task, attempt=task.attempt, left_out=left_out, message=_fitting(why))


def _told(found: Collected) -> str:
    left_out = found.left_out
    more = left_out.count - len(left_out.reasons)
    return "; ".join([*left_out.reasons, *[f"and {more} more"] * bool(more)])


def _fitting(message: str) -> str:
    return plain(message)[:MAX_OUTPUTS_MESSAGE]
