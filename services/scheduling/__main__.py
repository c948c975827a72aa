"""The scheduling service: ``python -m services.scheduling``. Settings come from FORGELOG_* variables."""

from __future__ import annotations

from events.service import serve


def main() -> None:
    serve("scheduling")


if __name__ == "__main__":
    main()
