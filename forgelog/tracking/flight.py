"""Several calls under way at once, whose outcomes are heard in the order in which they were begun."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

Heard = Callable[["asyncio.Future[None]"], None]
"""Hears how a call ended, after all that were begun before it. What it raises ends the flight."""


class Flight:
    """At most so many calls at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun: deque[tuple[asyncio.Future[None], Heard]] = deque()

    async def begin(self, call: Callable[[], Coroutine[Any, Any, None]] | None, heard: Heard) -> None:
        """Begin a call, as soon as there is room for it. None: nothing is called, and `heard` still has its turn.
        Raises what the calls before it raise."""
        while len(self._begun) >= self._most:
            await self._first()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future() if call is None else loop.create_task(call())
        if call is None:
            done.set_result(None)
        self._begun.append((done, heard))

    async def land(self) -> None:
        """Wait for all. Raises what they raise."""
        while self._begun:
            await self._first()

    async def cancel(self) -> None:
        """Give up those that are under way; what becomes of them is not known."""
        for done, _ in self._begun:
            done.cancel()
        await asyncio.gather(*(done for done, _ in self._begun), return_exceptions=True)
        self._begun.clear()

    async def _first(self) -> None:
        done, heard = self._begun[0]
        await asyncio.wait([done])
        self._begun.popleft()
        heard(done)
