"""Keeps the process of the windows running, while there is a deployment. A background of the context.

Imports nothing of Faust: it is loaded in that process alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from importlib.util import find_spec

from events.hosting import Answering
from events.process.keeping import keep
from events.process.tasks import end_all
from events.queries.following import LATER
from events.queries.queries import ReadModel

log = logging.getLogger("forgelog.windows")

LOOK_SECONDS = 2.0
STAYS_SECONDS = 60.0
"""After the end of the last deployment: its last requests are counted, and another one may come."""
MODULE = "services.deployments.windows"

_WANTED = "select exists (select from deployments where terminated_at is null)"


async def keep_windows(answering: Answering) -> None:
    """Run until cancelled."""
    if find_spec("faust") is None:
        log.warning(
            "metrics of deployments are not made: Faust is not installed; pip install 'forgelog[serving]', and start "
            "the services again"
        )
        return
    keeping: asyncio.Task[None] | None = None
    last = 0.0
    try:
        while True:
            wanted = await _wanted(answering.read)
            if wanted is not False:
                last = time.monotonic()
            if wanted and keeping is None:
                keeping = asyncio.create_task(keep(MODULE, log))
            elif keeping is not None and time.monotonic() - last > STAYS_SECONDS:
                await end_all((keeping,))
                keeping = None
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        if keeping is not None:
            await end_all((keeping,))


async def _wanted(read: ReadModel) -> bool | None:
    """Whether there is a deployment; None if nobody can say."""
    try:
        async with read.view() as db:
            return bool(await db.fetchval(_WANTED))
    except LATER as error:
        log.debug("the tables can't be asked whether there is a deployment: %s", error)
        return None
