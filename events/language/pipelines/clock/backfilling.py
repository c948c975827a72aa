"""Which intervals a backfill still has to run: a cursor over the schedule's ticks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from events.language.pipelines.backfill import BackfillRerun
from events.language.pipelines.clock.coverage import Coverage
from events.language.pipelines.clock.ticks import any_ticks_after, told
from events.language.pipelines.schedule import Interval, Schedule

MAX_INTERVALS = 100_000
"""Most intervals of one backfill."""

MOST_LOOKED_AT = 10_000
"""Most intervals that are looked at in one step."""


class Step(NamedTuple):
    """What a backfill does next."""

    run: tuple[Interval, ...]
    """Oldest first."""
    passed: int
    """How many intervals were passed over, since they have run already."""
    cursor: datetime
    """The end of the last interval that was looked at."""
    exhausted: bool
    """Whether there is no interval behind the cursor."""


def intervals(schedule: Schedule, since: datetime, until: datetime) -> Iterator[Interval]:
    """The schedule's intervals that lie within a stretch of time, oldest first; also those from before the schedule's
    start and after its end. Raises ScheduleError."""
    for tick in told(schedule, any_ticks_after(schedule, since)):
        if tick.at > until:
            return
        if tick.interval.start >= since:
            yield tick.interval


def count(schedule: Schedule, since: datetime, until: datetime) -> int:
    """How many intervals there are, at most `MAX_INTERVALS` + 1. Raises ScheduleError."""
    return sum(1 for _ in islice(intervals(schedule, since, until), MAX_INTERVALS + 1))


def step(
    schedule: Schedule,
    cursor: datetime,
    until: datetime,
    room: int,
    wanted: BackfillRerun,
    tried: Coverage,
    completed: Coverage,
) -> Step:
    """The next intervals after `cursor`, at most `room` of them. Raises ScheduleError."""
    run: list[Interval] = []
    passed = 0
    for looked_at, interval in enumerate(intervals(schedule, cursor, until)):
        if len(run) >= room or looked_at == MOST_LOOKED_AT:
            return Step(tuple(run), passed, cursor, exhausted=False)
        cursor = interval.end
        if _is_wanted(wanted, interval, tried, completed):
            run.append(interval)
        else:
            passed += 1
    return Step(tuple(run), passed, cursor, exhausted=True)


def _is_wanted(wanted: BackfillRerun, interval: Interval, tried: Coverage, completed: Coverage) -> bool:
    if wanted is BackfillRerun.ALL:
        return True
    return not (completed if wanted is BackfillRerun.FAILED else tried).covers(interval)
