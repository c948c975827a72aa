"""When each key of a partition is next due. Pure: knows neither states nor a clock."""

from __future__ import annotations

import heapq
from datetime import datetime


class Timers:
    """A heap of due times. A key may have moved to a later time since: the caller of `pop` checks its state."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str]] = []
        self._of: dict[str, datetime] = {}

    def note(self, key: str, due: datetime | None) -> None:
        """Note when a key is due; None for never."""
        if due is None:
            return
        known = self._of.get(key)
        if known is None or due < known:
            self._of[key] = due
            heapq.heappush(self._heap, (due, key))

    def pop(self, now: datetime) -> str | None:
        """Remove and return a key that is due at `now`; None if there is none."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, key = heapq.heappop(self._heap)
        self._of.pop(key, None)
        return key

    @property
    def next(self) -> datetime | None:
        """The earliest time that was noted."""
        return self._heap[0][0] if self._heap else None
