"""How the context's backgrounds (`events.hosting.Background`) keep at their work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import asyncpg
from aiokafka.errors import KafkaError

from events.objects.store import ObjectStoreError
from events.queries.queries import QueryError, ReadModel

log = logging.getLogger("forgelog.experiments")


async def again_and_again(work: Callable[[], Awaitable[None]], pause: float, trouble: str) -> None:
    """Do the work, `pause` seconds after it ended, until cancelled. What a server that is away raises does not end it:
    it is logged, behind `trouble`, as ``files can't be looked at now``."""
    while True:
        try:
            await work()
        except (KafkaError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, QueryError) as error:
            log.warning("%s: %s: %s", trouble, type(error).__name__, error)
        except ObjectStoreError as error:
            log.warning("%s: %s", trouble, error)
        await asyncio.sleep(pause)


async def tables_made(read: ReadModel) -> None:
    """Returns once events have been stored; before that there may be no tables."""
    runner = read.runner
    async with runner.changes:
        await runner.changes.wait_for(lambda: bool(runner.positions))
