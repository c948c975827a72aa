"""One thread that makes calls one by one, each with a time limit.

Python can't end a thread. A call over its limit gets an exception raised in it (`PyThreadState_SetAsyncExc`), which
ends what runs Python, but not what waits in C. If the call still runs a second later the thread is stuck: nobody gets
it back but by a new process, and `stuck` is told.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

GRACE = 1.0
"""Seconds that a call over its limit has to end."""


class OutOfTime(BaseException):
    """Raised in a call that is over its limit. No `except Exception` of a script keeps it."""


class Overrun(Exception):
    """A call took longer than its limit."""


class _Call(Generic[T]):
    def __init__(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self._loop = loop
        self.done: asyncio.Future[T] = loop.create_future()

    def tell(self, value: T | None, error: BaseException | None) -> None:
        """From the thread: how it ended."""
        try:
            self._loop.call_soon_threadsafe(self._settle, value, error)
        except RuntimeError:
            pass  # the loop is closed, and nobody waits any more

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(value)
        elif isinstance(error, OutOfTime):
            self.done.set_exception(Overrun())
        elif isinstance(error, Exception):
            self.done.set_exception(error)
        else:  # SystemExit and the like of somebody's code end a call, not the server
            self.done.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))


class LimitedThread:
    """Makes calls in the order in which they came. Used from one event loop."""

    def __init__(self, name: str, stuck: Callable[[str], None]) -> None:
        """`stuck`: called once, with the reason, when a call does not end after its limit."""
        self._stuck = stuck
        self._name = name
        self._calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._turn = asyncio.Lock()
        self._guard = threading.Lock()
        self._current: _Call[Any] | None = None
        self._raised = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Callable[[], T], limit: float) -> T:
        """What `work` returns or raises. Raises Overrun when it runs for longer than `limit` seconds; its wait for
        earlier calls does not count."""
        async with self._turn:
            call = _Call(work, asyncio.get_running_loop())
            self._calls.put(call)
            try:
                return await asyncio.wait_for(asyncio.shield(call.done), limit)
            except TimeoutError:
                if call.done.done():
                    return call.done.result()
                await self._end(call)
                raise Overrun from None
            except asyncio.CancelledError:
                # Nobody waits any more; the next call needs the thread all the same.
                try:
                    await asyncio.wait_for(asyncio.shield(call.done), limit)
                except TimeoutError:
                    await self._end(call)
                except Exception:  # noqa: BLE001 -- nobody is left to be told
                    pass
                raise

    def close(self) -> None:
        """The thread ends after the calls that it has."""
        self._calls.put(None)

    async def _end(self, call: _Call[Any]) -> None:
        """Makes a call end that is over its limit."""
        with self._guard:
            if self._current is call:
                self._raised = True
                _raise_in(self._thread.ident, OutOfTime)
        await asyncio.wait([call.done], timeout=GRACE)
        if not call.done.done():
            self._stuck(f"{self._name} has been in one call for longer than its time limit, and can't be interrupted")
        elif not call.done.cancelled():
            call.done.exception()  # seen

    def _main(self) -> None:
        while (call := self._calls.get()) is not None:
            value: Any = None
            error: BaseException | None = None
            try:
                self._enter(call)
                try:
                    value = call.work()
                finally:
                    self._leave()
            except BaseException as caught:  # noqa: BLE001 -- whatever somebody's code raises is its caller's
                error = caught
                self._leave()
            call.tell(value, error)
            del call, value, error

    def _enter(self, call: _Call[Any]) -> None:
        with self._guard:
            self._current = call

    def _leave(self) -> None:
        """After it no exception is raised from outside. One that is on its way arrives here: a thread meets it when it
        next goes round a loop. (To take it back by NULL would leave CPython 3.11 checking for one at every step.)"""
        with self._guard:
            self._current = None
            raised, self._raised = self._raised, False
        if raised:
            with suppress(OutOfTime):
                for _ in range(100):
                    pass


def _raise_in(thread: int | None, error: type[BaseException]) -> None:
    if thread is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class LimitedPool:
    """Several such threads; a call takes one that is free."""

    def __init__(self, name: str, count: int, stuck: Callable[[str], None]) -> None:
        self._threads = [LimitedThread(f"{name} {number}" if count > 1 else name, stuck) for number in range(count)]
        self._free: asyncio.Queue[LimitedThread] = asyncio.Queue()
        for thread in self._threads:
            self._free.put_nowait(thread)

    async def call(self, work: Callable[[], T], limit: float) -> T:
        """See `LimitedThread.call`."""
        thread = await self._free.get()
        try:
            return await thread.call(work, limit)
        finally:
            self._free.put_nowait(thread)

    def close(self) -> None:
        for thread in self._threads:
            thread.close()
