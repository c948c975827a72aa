"""The jobs service: ``python -m services.jobs``. Settings come from FORGELOG_* variables."""

from __future__ import annotations

import sys

from events.runtime.service import serve
from events.runtime.settings import SettingsError
from services.jobs.decide import Jobs
from services.jobs.projections import PROJECTION


def main() -> None:
    try:
        serve(Jobs(), PROJECTION, lambda _read, _settings: [])
    except SettingsError as error:
        sys.exit(f"jobs: {error}")


if __name__ == "__main__":
    main()
