"""Coroutines for programs without any: an event loop in a thread. Knows nothing of the platform.

`Blocking` and `BlockingClient` are the bases of what `make proto` writes to `forgelog/client/sync.py`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from events.process.tasks import end_all

T = TypeVar("T")


class Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forgelog-client", daemon=True)
        self._thread.start()
        self._stopped = False
        self._handing_over = threading.RLock()
        """Held while work is handed to the loop: none comes after it was stopped. The cycle collector may close an
        iteration in the thread that holds it."""
        self._closing: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it; an interrupt here cancels it there. Raises RuntimeError where the loop
        is stopped before it has ended."""
        with self._handing_over:
            if self._stopped:
                work.close()
                raise RuntimeError("the client is closed; make another one")
            future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
        except CancelledError:
            raise RuntimeError("the client was closed while this waited for an answer") from None

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """An asynchronous iterator as a plain one; closing it has the source closed.

        It does not wait for that. An iteration that was left early may be closed by the cycle collector, in whichever
        thread that runs: in the loop's own, or in one that the loop is about to wait for.
        """
        step: asyncio.Task[Any] | None = None

        async def following() -> tuple[T] | None:
            nonlocal step
            step = asyncio.current_task()
            try:
                return (await anext(source),)
            except StopAsyncIteration:
                return None
            finally:
                step = None

        async def close() -> None:
            if step is not None:  # an interrupt has cancelled it just now: a source that runs can't be closed
                await asyncio.wait([step])
            if (end := getattr(source, "aclose", None)) is not None:
                await end()

        try:
            while (item := self.run(following())) is not None:
                yield item[0]
        finally:
            with self._handing_over:
                if not self._stopped:  # else it was closed then
                    self._loop.call_soon_threadsafe(self._begin, close)

    def _begin(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Run `last` there, then end all other tasks and the thread. Callers that wait for a task get an error: see
        `run`. Does nothing if it is stopped already."""
        with self._handing_over:
            if self._stopped:
                return
            self._stopped = True
            ending = asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        try:
            ending.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self, last: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        try:
            if last is not None:
                await last()
        finally:
            await end_all([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])
            await self._loop.shutdown_asyncgens()


class Blocking(Generic[T]):
    """An object whose methods wait for those of the asynchronous one behind it."""

    def __init__(self, behind: T, loop: Loop) -> None:
        self._async = behind
        self._loop = loop

    def __repr__(self) -> str:
        return repr(self._async)


class Closing(Protocol):
    """What can be closed, by a coroutine."""

    async def close(self) -> None: ...


C = TypeVar("C", bound=Closing)


class BlockingClient(Blocking[C]):
    """A context manager with a loop of its own, which `close` ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and the thread. Calls that other threads wait for raise RuntimeError."""
        self._loop.stop(self._async.close)
