"""A writer's clock: the time of its decisions. It advances steadily even if the machine's clock is set.

The machine's clock is set, by people and by NTP, and jumps. Decisions that wait for moments (a back-off, a silent node)
must not take a jump for time that has passed, nor wait a day when it is set back. So this clock starts at the machine's
time, runs on the steady clock, and makes good a difference slowly. It is also never behind an event it has read, its
own or another writer's: an event is never earlier than what it follows from, and moments that another writer named come
when they should (a hybrid logical clock: Kulkarni et al., 2014).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

FOLLOWED = 0.1
"""Seconds that the machine's clock may be ahead and is followed at once."""
CATCH_UP, FALL_BACK = 0.5, 0.1
"""Seconds in a second by which a larger difference is made good, forwards and backwards. (Time never
stands still, so a wait takes about as long as it should.)"""
PAUSE = 3.0
"""Seconds between two looks after which this process must have been stopped, or the machine asleep."""


def steady() -> float:
    """Seconds that nobody can set; they count while the machine sleeps, where there is such a clock (Linux)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Clock:
    """One per writer. Not for use by several threads."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = steady) -> None:
        """`wall`: POSIX seconds; `steady`: seconds from any beginning."""
        self._wall = wall
        self._steady = steady
        self._looked = steady()
        self._offset = wall() - self._looked
        self._missed = False

    def now(self) -> datetime:
        """The time, never earlier than before."""
        at = self._steady()
        passed, self._looked = max(0.0, at - self._looked), at
        if passed > PAUSE:
            self._missed = True
        error = self._wall() - at - self._offset
        if error > FOLLOWED:
            self._offset += min(error, CATCH_UP * passed)
        elif error >= 0:
            self._offset += error
        else:
            self._offset += max(error, -FALL_BACK * passed)
        return datetime.fromtimestamp(at + self._offset, UTC)

    def at_least(self, moment: datetime) -> datetime:
        """The time, after an event of that moment."""
        now = self.now()
        behind = (moment - now).total_seconds()
        if behind <= 0:
            return now
        self._offset += behind
        if behind > PAUSE:
            self._missed = True
        return moment

    def missed(self) -> bool:
        """Whether time has gone by unseen since this was asked last: this process was stopped, or followed a leap.

        Who measures others' silence by this clock must then begin anew: it may be itself that did not listen.
        """
        missed, self._missed = self._missed, False
        return missed
