"""``python -m services.gateway``: the front door, on FORGELOG_GATEWAY."""

from __future__ import annotations

from events.runtime.service import configure_logging, run_until_stopped
from events.runtime.settings import Settings
from services.gateway.server import run


def main() -> None:
    settings = Settings.load()
    configure_logging(settings)
    run_until_stopped(lambda: run(settings))


if __name__ == "__main__":
    main()
