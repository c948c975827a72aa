"""A worker: one order after another, to its executor; what comes of each is reported.

1. The worker follows the orders that name it, and then says that it is ready.
2. An order waits until those before it are done. It is begun with the report that it has started, which nobody waits
   for: if it is refused, since another attempt counts by now, the work is stopped.
3. The executor does the work. What it asks meanwhile is answered from the platform.
4. Work that takes long is reported with its figures so far, now and then.
5. Its end, or what ended it, is reported with its figures and the range of its log.

An order to stop ends what it names, whether it waits or runs. Must not decide what runs again or when.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from events.language.pipelines.work import FailureKind
from events.process import faults
from events.process.tasks import run_beside
from forgelog.worker.framing import Message
from forgelog.worker.platform import Refusal
from forgelog.worker.printing import LogRange, Printing
from forgelog.worker.process import Executor, Gone, Spares

log = logging.getLogger("forgelog.worker")

PROGRESS_SECONDS = 5.0
"""Between two reports of how far a stage is."""

Key = tuple[str, str, int, str]
"""An attempt of a stage: the run's id, the stage's, the attempt's number; and the phase."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done."""

    key: Key
    work: Message
    """For the executor."""
    timeout: float | None
    """Seconds that it may take; None: any."""
    event: Any = None
    """What ordered it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """What is not to be done any more, in whatever phase it is."""

    attempt: tuple[str, str, int]
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an order. Either `failure` or what the executor said is there."""

    order: Order
    said: Message
    failure: Message
    seconds: float
    printed: LogRange


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an order is."""

    order: Order
    seconds: float
    peak_memory_bytes: int


class Reporting(Protocol):
    """Turns what a worker does into reports. The order in which it is called is the order of the reports."""

    def ready(self) -> None: ...
    def started(self, order: Order) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def done(self, done: Done) -> None: ...
    async def all_sent(self) -> None: ...


Orders = Callable[[], AsyncIterator[Order | Stop | None]]
"""What is ordered, without end. None: the stream is there."""
Answer = Callable[[Order, Message], Awaitable[Message]]


class Worker:
    """One slot: a stage at a time."""

    def __init__(
        self,
        orders: Orders,
        reporting: Reporting,
        answer: Answer,
        printing: Printing,
        spares: Spares,
        *,
        once: bool = False,
        progress_seconds: float = PROGRESS_SECONDS,
    ) -> None:
        """`answer`: answers what an executor asks. `once`: ends when the first attempt has ended."""
        self._progress_seconds = progress_seconds
        self._orders, self._reporting, self._answer = orders, reporting, answer
        self._printing, self._spares, self._once = printing, spares, once
        self._waiting: deque[Order] = deque()
        self._news = asyncio.Event()
        self._running: Order | None = None
        self._executor: Executor | None = None
        self._why = ""
        """Why what runs is stopped; empty: it is not."""
        self._known: set[Key] = set()
        """Orders that were taken. The stream may give one again."""

    async def run(self) -> None:
        """Work until cancelled, or until the one stage has ended. Raises NotStarted."""
        try:
            await run_beside(self._work(), self._follow())
        finally:
            await self._spares.close()

    def stop(self, attempt: tuple[str, str, int], why: str) -> None:
        """Do no more of an attempt."""
        for order in [order for order in self._waiting if order.key[:3] == attempt]:
            self._waiting.remove(order)
            self._reporting.done(Done(order, {}, _cancelled(why), 0.0, self._nothing_printed()))
        if self._running is not None and self._running.key[:3] == attempt and not self._why:
            self._why = why
            if self._executor is not None:
                self._executor.kill()

    def refused(self, attempt: tuple[str, str, int], refusal: Refusal) -> None:
        """A report about an attempt was refused: another one counts."""
        if self._running is not None and self._running.key[:3] == attempt:
            log.warning("attempt %s is stopped: %s", "/".join(map(str, attempt)), refusal.message)
            self.stop(attempt, refusal.message)

    async def _follow(self) -> None:
        ready = False
        async for ordered in self._orders():
            if not ready:
                self._reporting.ready()
                ready = True
            if isinstance(ordered, Stop):
                self.stop(ordered.attempt, ordered.why)
            elif ordered is not None and ordered.key not in self._known:
                self._known.add(ordered.key)
                self._waiting.append(ordered)
                self._news.set()

    async def _work(self) -> None:
        await self._spares.take()  # its libraries are loaded before the first order comes
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            order = self._waiting.popleft()
            faults.point(faults.BEFORE_STAGE)
            done = await self._perform(order)
            self._reporting.done(done)
            if self._once and not done.said.get("prepared"):
                await self._reporting.all_sent()
                return

    async def _perform(self, order: Order) -> Done:
        self._running, self._why = order, ""
        began = time.monotonic()
        try:
            self._executor = executor = await self._spares.take()
            self._printing.begin()
            said: Message = {}
            if self._why:
                failure = _cancelled(self._why)
            else:
                self._reporting.started(order)
                said, failure = await self._outcome(order, executor)
        finally:
            self._running = self._executor = None
        return Done(order, said, failure, time.monotonic() - began, self._printing.end())

    async def _outcome(self, order: Order, executor: Executor) -> tuple[Message, Message]:
        """What the executor said, and the failure if there is one."""

        async def answer(question: Message) -> Message:
            return await self._answer(order, question)

        limit = asyncio.timeout(order.timeout)
        telling = asyncio.create_task(self._tell_progress(order, executor))
        try:
            async with limit:
                said = await executor.perform(order.work, answer)
        except TimeoutError:
            if not limit.expired():
                raise
            await executor.stop()
            return {}, {
                "kind": FailureKind.TIMEOUT,
                "field": "timeout_seconds",
                "problem": f"the stage took longer than {order.timeout:g} s",
                "remedy": "give it more time, or let it do less at a time",
            }
        except Gone as error:
            return {}, self._gone(executor, error)
        finally:
            telling.cancel()
        if executor.spoilt:
            self._printing.say(f"{executor.spoilt}; the next stage gets another process")
        return said, said.get("failed", {})

    async def _tell_progress(self, order: Order, executor: Executor) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(self._progress_seconds)
            self._reporting.progress(Progress(order, time.monotonic() - began, executor.peak))

    def _gone(self, executor: Executor, error: Gone) -> Message:
        if self._why:
            return _cancelled(self._why)
        if executor.over:
            return {
                "kind": FailureKind.MEMORY,
                "field": "resources.memory_bytes",
                "problem": f"the stage held {executor.over >> 20} MiB; it may hold {executor.limit >> 20} MiB",
                "remedy": "give it more by resources.memory_bytes, or let it take less at a time",
            }
        return {
            "kind": FailureKind.CRASH,
            "problem": f"{error} in the middle of the stage",
            "remedy": "see the stage's log; a library may have crashed, or the node has ended the process",
        }

    def _nothing_printed(self) -> LogRange:
        return LogRange(self._printing.printed, self._printing.printed)


def _cancelled(why: str) -> Message:
    return {"kind": FailureKind.CANCELLED, "problem": why or "it was stopped"}
