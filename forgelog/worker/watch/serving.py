"""Puts a watcher together: its orders, a task for each trigger, its reports."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from events.language.base import Command, Event
from events.language.pipelines.run_commands import ReportWorkerReady
from events.language.pipelines.triggers import Trigger
from events.language.pipelines.watch_messages import ReportTriggerTrouble, TriggerReport, TriggerWatched
from events.process.tasks import end_all, run_beside
from forgelog.client.core import Core
from forgelog.pipelines.io import IoContext
from forgelog.pipelines.problems import StageError
from forgelog.worker import platform
from forgelog.worker.ordering import Versions as KnownVersions
from forgelog.worker.platform import Refusal
from forgelog.worker.starting import CantStart, Start, secret_of
from forgelog.worker.versions import Versions
from forgelog.worker.watch import files, topics

log = logging.getLogger("forgelog.worker")

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""Before a trigger is looked at again that could not be, at first and at most."""


class Sender(Protocol):
    """Sends reports in their order."""

    def report(self, command: Command, *, urgent: bool = True) -> None: ...


async def serve(start: Start) -> None:
    """Watch until cancelled. Raises CantStart when a report is refused: another watcher is there, or what is known of a
    trigger is not what this one was told."""
    core = Core(project=start.project)
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heard(command: Command, refusal: Refusal | None) -> None:
        if refusal is not None and isinstance(command, TriggerReport | ReportWorkerReady) and not over.done():
            over.set_exception(CantStart(f"{type(command).__name__} was refused: {refusal.message}"))

    reporter = platform.Reporter(core, heard)
    events = platform.orders(core, start.spec.pipeline_id, start.spec.worker)
    with tempfile.TemporaryDirectory() as folder:
        context = IoContext(
            scratch=Path(folder),
            secrets=lambda name: secret_of(start.secrets, name),
            datasets_url=start.spec.datasets_url,
            project=start.project,
        )
        watcher = Watcher(start, reporter, Versions(core), context)
        try:
            await run_beside(_ended(over), watcher.run(events), reporter.run())
        finally:
            await core.connection.close()


async def _ended(over: asyncio.Future[None]) -> None:
    await over


class Watcher:
    """Looks at each trigger that it is told of."""

    def __init__(self, start: Start, sender: Sender, versions: KnownVersions, context: IoContext) -> None:
        self._start, self._sender = start, sender
        self._versions, self._context = versions, context
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self, events: AsyncIterator[Event | None]) -> None:
        """Follow the orders, until cancelled."""
        spec, ready = self._start.spec, False
        try:
            async for event in events:
                if not ready:
                    self._sender.report(ReportWorkerReady(pipeline_id=spec.pipeline_id, worker=spec.worker))
                    ready = True
                # the stream may give an order again
                if isinstance(event, TriggerWatched) and event.trigger not in self._tasks:
                    self._tasks[event.trigger] = asyncio.create_task(self._keep(event))
        finally:
            await end_all(self._tasks.values())

    async def _keep(self, told: TriggerWatched) -> None:
        """Look at a trigger, again and again after what is wrong with it."""
        described = await self._versions.get(told.pipeline_id, told.pipeline_version)
        trigger = next(each for each in described.triggers if each.name == told.trigger)
        troubles = Troubles(partial(self._report, told.trigger))
        watch = self._watch(trigger, told, troubles)
        while True:
            try:
                await watch()
            except StageError as error:
                await asyncio.sleep(troubles.tell(str(error)))
            except Exception as error:
                log.exception("trigger %s can't be watched", told.trigger)
                await asyncio.sleep(troubles.tell(f"{type(error).__name__}: {error}; see the watcher's log"))

    def _watch(self, trigger: Trigger, told: TriggerWatched, troubles: Troubles) -> Callable[[], Awaitable[None]]:
        """What looks at a trigger. What it has told already it knows when it is called again."""
        rest = (self._context, partial(self._report, trigger.name), troubles.over)
        if trigger.topic is not None:
            return partial(topics.watch, trigger.topic, told.since, topics.begun(trigger.topic, told), *rest)
        assert trigger.files is not None, "only topics and files are watched"
        return partial(files.watch, trigger.files, files.begun(trigger.files, told), *rest)

    def _report(self, trigger: str, kind: type[TriggerReport], **said: object) -> None:
        spec = self._start.spec
        self._sender.report(kind(pipeline_id=spec.pipeline_id, worker=spec.worker, trigger=trigger, **said))


class Troubles:
    """What is wrong with a trigger: told once, and when it is over."""

    def __init__(self, report: partial[None]) -> None:
        self._report = report
        self._pause = PAUSE_SECONDS
        self._told: str | None = None
        """None: nobody knows what an earlier watcher has told."""

    def tell(self, reason: str) -> float:
        """Seconds until it is to be looked again."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._say(reason[:1_000])
        return pause

    def over(self) -> None:
        self._pause = PAUSE_SECONDS
        self._say("")

    def _say(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._report(ReportTriggerTrouble, reason=reason)
