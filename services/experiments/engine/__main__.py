"""The engine of tunings: ``python -m services.experiments.engine``. The experiments service starts it, with its own
settings, and ends it by closing its standard input."""

from __future__ import annotations

import asyncio
import sys

from events.process.keeping import until_left
from events.process.main import configure_logging
from events.process.settings import Settings, SettingsError
from events.process.tasks import run_beside
from services.experiments.engine.work import work


async def _main(settings: Settings) -> None:
    await run_beside(until_left(), work(settings))


if __name__ == "__main__":
    try:
        loaded = Settings.load()
    except SettingsError as problem:
        sys.exit(f"engine: {problem}")
    configure_logging(loaded)
    asyncio.run(_main(loaded))
