"""The windows of deployments: ``python -m services.deployments.windows``. The deployments service starts it, with its
own settings, and ends it by closing its standard input."""

from __future__ import annotations

import asyncio
import logging
import sys

from events.log.topics import commands, ensure_compacted, ensure_topics
from events.process.keeping import until_left
from events.process.main import configure_logging
from events.process.settings import Settings, SettingsError
from events.process.tasks import run_beside


async def _main(settings: Settings) -> None:
    from services.deployments.windows.application import CHANGES, application

    partitions = (await ensure_topics(settings))[commands("deployments")]
    await ensure_compacted(settings, CHANGES, partitions)
    app = application(settings, partitions)
    app.finalize()
    await app.start()
    try:
        await run_beside(until_left(), app.wait_until_stopped())
    finally:
        await app.stop()


if __name__ == "__main__":
    try:
        loaded = Settings.load()
    except SettingsError as problem:
        sys.exit(f"windows: {problem}")
    configure_logging(loaded)
    for chatty in ("faust", "mode"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    asyncio.run(_main(loaded))
