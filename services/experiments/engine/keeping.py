"""Keeps the engine's process running, from the first tuning on that it has to search for.

Imports nothing of the engine: Optuna is loaded in that process alone.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import asyncpg

from events.hosting import Answering
from events.queries.queries import QueryError, ReadModel
from services.experiments.background import TABLES_MISSING

log = logging.getLogger("forgelog.engine")

LOOK_SECONDS = 1.0
"""How often the tables are asked whether there is anything to search for, until there is."""

_LONGEST_PAUSE = 30.0


async def keep_engine(answering: Answering) -> None:
    """Run until cancelled."""
    while not await _wanted(answering.read):
        await asyncio.sleep(LOOK_SECONDS)
    pause = LOOK_SECONDS
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.experiments.engine", stdin=asyncio.subprocess.PIPE
        )
        log.info("the engine runs as process %d", process.pid)
        try:
            code = await process.wait()
        finally:
            await _end(process)
        log.error("the engine ended with %d; it is started again in %g s", code, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


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


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it, by its standard input; it is killed if that does not help."""
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(2.0):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
