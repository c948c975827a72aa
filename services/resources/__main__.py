"""The resources service: ``python -m services.resources``. Settings come from FORGELOG_* variables."""

from __future__ import annotations

from events.service import serve


def main() -> None:
    serve("resources")


if __name__ == "__main__":
    main()
