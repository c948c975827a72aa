"""What becomes of the ticks that have come since the last one that was handled: which fire, and which are passed over.

It goes on from the last tick in the log, never from now: so no tick is missed or comes twice, however late it is.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import NamedTuple

from events.language.pipelines.clock.ticks import interval_of, last_tick, next_tick, ticks_after, told
from events.language.pipelines.schedule import CatchUp, Schedule, Tick

LATE = timedelta(minutes=1)
"""A tick that is no older is handled in time: a writer was busy, or another one took over."""

MOST_SKIPPED = 10_000
"""Most ticks that are counted at once: so that a year of minutes does not hold up other pipelines."""


class Skipped(NamedTuple):
    """Ticks that are passed over."""

    first: datetime
    last: datetime
    ticks: int
    """How many."""


class Handled(NamedTuple):
    """What becomes of ticks. Those that it does not name are still to be handled."""

    skipped: Skipped | None
    fires: tuple[Tick, ...]
    """After the skipped ones, oldest first."""


NOTHING = Handled(None, ())


def due_at(schedule: Schedule, handled: datetime, room: int) -> datetime | None:
    """When ticks are to be handled next, after the last one that was. None: never, or not before there is room."""
    return next_tick(schedule, handled) if room > 0 or schedule.catch_up is not CatchUp.ALL else None


def handle(schedule: Schedule, handled: datetime, now: datetime, room: int) -> Handled:
    """What becomes of the ticks after `handled` and up to `now`. `room` is how many may fire; without room they wait
    with catch-up `all`, and are skipped else. Raises ScheduleError."""
    newest = last_tick(schedule, now)
    if newest is None or newest <= handled:
        return NOTHING
    if schedule.catch_up is CatchUp.ALL:
        due = takewhile(lambda tick: tick <= newest, ticks_after(schedule, handled))
        return Handled(None, tuple(told(schedule, islice(due, max(room, 0)))))
    fires = room > 0 and (schedule.catch_up is CatchUp.LATEST or now - newest <= LATE)
    over = takewhile(lambda tick: tick < newest or (tick == newest and not fires), ticks_after(schedule, handled))
    skipped = _skipped(list(islice(over, MOST_SKIPPED)))
    if not fires or (skipped is not None and skipped.ticks == MOST_SKIPPED):
        return Handled(skipped, ())
    return Handled(skipped, (Tick(at=newest, interval=interval_of(schedule, newest)),))


def _skipped(ticks: list[datetime]) -> Skipped | None:
    return Skipped(ticks[0], ticks[-1], len(ticks)) if ticks else None
