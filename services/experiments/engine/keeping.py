"""Keeps the engine's process running, from the first tuning on that it has to search for.

Imports nothing of the engine: Optuna is loaded in that process alone.
"""

from __future__ import annotations

import asyncio
import logging

import asyncpg

from events.hosting import Answering
from events.process.keeping import keep
from events.queries.queries import QueryError, ReadModel
from services.experiments.background import TABLES_MISSING

log = logging.getLogger("forgelog.engine")

LOOK_SECONDS = 1.0
"""How often the tables are asked whether there is anything to search for, until there is."""


async def keep_engine(answering: Answering) -> None:
    """Run until cancelled."""
    while not await _wanted(answering.read):
        await asyncio.sleep(LOOK_SECONDS)
    await keep("services.experiments.engine", log)


async def _wanted(read: ReadModel) -> bool:
    """Whether there is a tuning to search for."""
    try:
        async with read.view() as db:
            found = await db.fetchval("select exists(select from tunings where plan is not null and ended_at is null)")
    except TABLES_MISSING:
        return False
    except (asyncpg.PostgresError, OSError, QueryError) as error:
        log.warning("the tables can't be asked whether there is a tuning: %s", error)
        return False
    return bool(found)
