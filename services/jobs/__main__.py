"""The jobs service: ``python -m services.jobs``. Settings come from FORGELOG_* variables."""

from __future__ import annotations

from events.service import serve


def main() -> None:
    serve("jobs")


if __name__ == "__main__":
    main()
