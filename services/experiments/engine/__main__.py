"""The engine of tunings: ``python -m services.experiments.engine``. The experiments service starts it, with its own
settings, and ends it by closing its standard input."""

from __future__ import annotations

import asyncio
import sys

from events.process.settings import Settings, SettingsError
from events.process.tasks import run_beside
from events.service import configure_logging
from services.experiments.engine.work import work


async def _until_left() -> None:
    """Until the process that started this one is gone, however it ended."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _main(settings: Settings) -> None:
    await run_beside(_until_left(), work(settings))


if __name__ == "__main__":
    try:
        loaded = Settings.load()
    except SettingsError as problem:
        sys.exit(f"engine: {problem}")
    configure_logging(loaded)
    asyncio.run(_main(loaded))
