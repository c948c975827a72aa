"""Stretches of time that runs have covered, as few ranges as possible: neighbours become one.

A pipeline keeps one of what was completed and one of what was tried, for years of runs in a few entries.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from events.language.pipelines.schedule import Interval


@dataclass(slots=True)
class Coverage:
    """Ranges that neither overlap nor touch, in order, from `starts[i]` on and before `ends[i]`."""

    starts: list[datetime] = field(default_factory=list)
    ends: list[datetime] = field(default_factory=list)

    def add(self, interval: Interval) -> None:
        first = bisect_left(self.ends, interval.start)
        last = bisect_right(self.starts, interval.end)
        start = min([interval.start, *self.starts[first:last][:1]])
        end = max([interval.end, *self.ends[first:last][-1:]])
        self.starts[first:last] = [start]
        self.ends[first:last] = [end]

    def covers(self, interval: Interval) -> bool:
        """Whether all of the interval is covered."""
        at = bisect_right(self.starts, interval.start) - 1
        return at >= 0 and interval.end <= self.ends[at]

    def ranges(self) -> Sequence[tuple[datetime, datetime]]:
        return list(zip(self.starts, self.ends, strict=True))
