"""The errands service: ``python -m errands``."""

from __future__ import annotations

from events.service import serve

if __name__ == "__main__":
    serve("errands")
