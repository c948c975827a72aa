"""The experiments service: ``python -m services.experiments``. Settings come from FORGELOG_* variables."""

from __future__ import annotations

from events.service import serve


def main() -> None:
    serve("experiments")


if __name__ == "__main__":
    main()
