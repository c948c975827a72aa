"""What a schedule will do: its next ticks, and those around the next changes of its zone's clocks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from events.language.pipelines.clock.ticks import last_tick, ticks_after, told
from events.language.pipelines.clock.zones import offset_at, offset_changes, zone_of
from events.language.pipelines.schedule import Schedule, Tick

_AHEAD = timedelta(days=400)
_MOMENT = timedelta(microseconds=1)


class ClockChange(NamedTuple):
    """Clocks are put forward or back."""

    at: datetime
    shift: timedelta
    """Positive: forward."""


def next_ticks(schedule: Schedule, instant: datetime, count: int) -> Sequence[Tick]:
    """The next ticks, each with its interval. Raises ScheduleError."""
    return list(told(schedule, islice(ticks_after(schedule, instant), count)))


def clock_changes(schedule: Schedule, instant: datetime, count: int) -> Sequence[ClockChange]:
    """The next changes within about a year; none in a zone without any, and none of a schedule by seconds."""
    if not schedule.cron:
        return []
    zone = zone_of(schedule.timezone)
    changes = islice(offset_changes(zone, instant, instant + _AHEAD), count)
    return [ClockChange(at, offset_at(zone, at) - offset_at(zone, at - _MOMENT)) for at in changes]


def around(schedule: Schedule, change: ClockChange, after: int = 2) -> Sequence[Tick]:
    """The last tick before a change, and some from it on. Raises ScheduleError."""
    before = last_tick(schedule, change.at - _MOMENT)
    ahead = next_ticks(schedule, change.at - _MOMENT, after)
    return [*([] if before is None else told(schedule, iter([before]))), *ahead]
