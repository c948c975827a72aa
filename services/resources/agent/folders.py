"""Where an attempt is to run, where that has to be found out or made first; in threads, since both may take long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from events.process import tracing
from events.process.same_folder import is_same_folder
from services.resources.agent.attempts import Attempt
from services.resources.agent.bundles import BundleProblem, Bundles, Stopped
from services.resources.agent.store import Store


class Folders:
    """Used from the agent's event loop."""

    def __init__(self, store: Store, bundles: Callable[[], Bundles]) -> None:
        """`bundles`: makes the cache, when the first task has uploaded code."""
        self._store = store
        self._make_bundles = bundles
        # A pool of their own each, so that a file system or a network that is gone keeps nothing else waiting. Threads
        # are made when there is something to do.
        self._lookers = ThreadPoolExecutor(4, "folders")
        self._unpackers = ThreadPoolExecutor(4, "unpack")
        self._unpacking: dict[str, threading.Event] = {}
        """By the attempt's key; set to leave off."""

    @cached_property
    def _bundles(self) -> Bundles:
        return self._make_bundles()

    def close(self) -> None:
        for stopped in self._unpacking.values():
            stopped.set()
        for pool in (self._lookers, self._unpackers):
            pool.shutdown(wait=False, cancel_futures=True)

    def is_unknown(self, attempt: Attempt) -> bool:
        """Whether `find` has to be asked before it can be launched."""
        if attempt.folder is not None or attempt.bound is None:
            return False
        environment = attempt.bound.launch.environment
        return environment.bundle is not None or bool(environment.working_directory_id)

    async def find(self, attempt: Attempt) -> str:
        """The folder; empty for the task's own fresh one. Raises BundleProblem, and Stopped after `leave`."""
        assert attempt.bound is not None
        environment = attempt.bound.launch.environment
        loop = asyncio.get_running_loop()
        if environment.bundle is None:
            wanted = environment.working_directory, environment.working_directory_id
            same = await loop.run_in_executor(self._lookers, is_same_folder, *wanted)
            return environment.working_directory if same else ""
        target, begun = self._store.new_code(attempt.key), time.time()
        stopped = self._unpacking[attempt.key] = threading.Event()
        try:
            await loop.run_in_executor(self._unpackers, self._bundles.prepare, environment.bundle, target, stopped)
        except (BundleProblem, Stopped):
            self._store.discard_code(attempt.key)
            raise
        finally:
            del self._unpacking[attempt.key]
        tracing.record("unpack bundle", attempt.task.traceparent, begun, job=attempt.task.job_id)
        return str(target)

    def leave(self, attempt: Attempt) -> None:
        """Make no folder for it any more, if that is under way."""
        if (stopped := self._unpacking.get(attempt.key)) is not None:
            stopped.set()
