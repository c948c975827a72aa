"""The gateway: ``python -m services.gateway``. Settings come from FORGELOG_* variables."""

from __future__ import annotations

import sys

from events.process.main import configure_logging, run_until_stopped
from events.process.private import keep_private
from events.process.settings import Settings, SettingsError
from services.gateway.routes import RouteError
from services.gateway.server import CannotListen, run


def main() -> None:
    keep_private()
    try:
        settings = Settings.load()
        configure_logging(settings)
        run_until_stopped(lambda: run(settings))
    except (SettingsError, CannotListen, RouteError) as error:
        sys.exit(f"gateway: {error}")


if __name__ == "__main__":
    main()
