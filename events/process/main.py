"""What a process's ``main`` does first, whatever it is: how it logs, and how it runs until it is told to stop.

Loads nothing of what a service is made of: agents, the gateway and others of no tables start by it too.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from events.process.collector import spare_collections
from events.process.settings import Settings

log = logging.getLogger("forgelog.service")


def configure_logging(settings: Settings) -> None:
    """One line per message, on stderr."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)


def run_until_stopped(main: Callable[[], Awaitable[Any]]) -> None:
    """Run a coroutine under uvloop until it ends or SIGTERM or SIGINT cancels it cleanly."""
    spare_collections()

    async def supervised() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            log.info("stopped")

    uvloop.run(supervised())
