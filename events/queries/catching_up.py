"""Before a query says that something is not there, its tables have what the log had when it was asked.

Tables follow the log by some milliseconds, so "there is none" of tables that are behind may be said of what was just
made. Only who made it knows its position and can wait for that; this is for everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from aiokafka.errors import KafkaError

from events.log.envelope import Position

CATCH_UP_SECONDS = 5.0
"""How long a query that found nothing waits for its tables."""


class Tables(Protocol):
    """What follows the log: `events.projections.runner.Runner`."""

    async def newest(self) -> list[Position]:
        """The newest position of each place of the log, as the broker tells it now; without places that stand still.
        Raises KafkaError, OSError, and LookupError while nothing is read."""

    async def wait_for(self, wanted: Sequence[Position], timeout: float) -> list[Position]:
        """Wait until these are in the tables; those that are not after `timeout` seconds."""


class CatchingUp:
    """Waits for a context's tables. Those who wait while the broker is asked share the next answer."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._waiting: list[asyncio.Future[list[Position]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def why_behind(self, timeout: float = CATCH_UP_SECONDS) -> str:
        """Wait until the tables have what the log had when this was called: empty then, else why they have not."""
        until = asyncio.get_running_loop().time() + timeout
        try:
            async with asyncio.timeout(timeout):
                wanted = await self._newest()
        except TimeoutError:
            return "whether the tables are behind is not known: the broker does not answer"
        except (KafkaError, OSError) as error:
            return f"whether the tables are behind is not known: the broker can't be asked ({type(error).__name__})"
        except LookupError:
            return "the tables are not read from the log yet"
        missing = await self._tables.wait_for(wanted, max(0.0, until - asyncio.get_running_loop().time()))
        return f"the tables do not contain {', '.join(map(str, missing))} yet" if missing else ""

    async def _newest(self) -> list[Position]:
        future: asyncio.Future[list[Position]] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await future

    async def _ask(self) -> None:
        """Ask for all that wait, until nobody does. A question that has begun takes nobody in any more: what it hears
        may be older."""
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                try:
                    async with asyncio.timeout(CATCH_UP_SECONDS):
                        newest = await self._tables.newest()
                except Exception as error:  # noqa: BLE001 - told to every caller
                    for future in asked:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for future in asked:
                    if not future.done():  # its caller may have gone
                        future.set_result(newest)
        finally:
            self._asking = None
