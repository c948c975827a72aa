"""Coroutines for programs without any: an event loop in a thread. Knows nothing of the platform.

`Blocking` and `BlockingClient` are the bases of what `make proto` writes to `forgelog/client/sync.py`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

T = TypeVar("T")


class Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forgelog-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it; an interrupt here cancels it there."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """An asynchronous iterator as a plain one; closing it closes the source."""

        async def following() -> tuple[T] | None:
            try:
                return (await anext(source),)
            except StopAsyncIteration:
                return None

        async def close() -> None:
            if (end := getattr(source, "aclose", None)) is not None:
                await end()

        try:
            while (item := self.run(following())) is not None:
                yield item[0]
        finally:
            self.run(close())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


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
        """End the connection and the thread."""
        self._loop.run(self._async.close())
        self._loop.stop()
