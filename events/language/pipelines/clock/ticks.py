"""The ticks of a schedule, and the interval that each tick is about. Pure: the same schedule and zones, the same ticks.

Intervals are contiguous: each begins where the one before it ends. They are never empty and never overlap, since a
tick is later than the one before it in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

from events.language.pipelines.clock.cron import BadExpression, Cron
from events.language.pipelines.clock.zones import UnknownZone, zone_of
from events.language.pipelines.schedule import Interval, Schedule, Tick

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MOMENT = timedelta(microseconds=1)


class ScheduleError(ValueError):
    """A schedule can't be computed. `field` is the part of it that is wrong, `hint` says what to write."""

    def __init__(self, field: str, problem: str, hint: str) -> None:
        super().__init__(f"{field}: {problem}; {hint}")
        self.field, self.problem, self.hint = field, problem, hint


class _Fires(Protocol):
    """Instants without a bound, both ways."""

    def after(self, instant: datetime) -> Iterator[datetime]: ...

    def before(self, instant: datetime) -> Iterator[datetime]: ...


class _Every:
    """Each so many seconds, counted from an instant."""

    def __init__(self, seconds: int, anchor: datetime) -> None:
        self._step, self._anchor = timedelta(seconds=seconds), anchor.astimezone(UTC)

    def after(self, instant: datetime) -> Iterator[datetime]:
        number = (instant - self._anchor) // self._step
        while True:
            number += 1
            try:
                yield self._anchor + number * self._step
            except OverflowError:
                return

    def before(self, instant: datetime) -> Iterator[datetime]:
        number = -((self._anchor - instant) // self._step)
        while True:
            number -= 1
            try:
                yield self._anchor + number * self._step
            except OverflowError:
                return


def check(schedule: Schedule) -> None:
    """Raises ScheduleError for an unknown zone, and for an expression that is none or that never fires."""
    fires = _fires(schedule)
    if schedule.cron and next(fires.after(datetime(2000, 1, 1, tzinfo=UTC)), None) is None:
        raise ScheduleError("cron", f"{schedule.cron!r} never fires", "name a day that exists")


def any_ticks_after(schedule: Schedule, instant: datetime) -> Iterator[datetime]:
    """As `ticks_after`, but also those up to the schedule's start and after its end. Raises ScheduleError."""
    return _fires(schedule).after(instant.astimezone(UTC))


def ticks_after(schedule: Schedule, instant: datetime) -> Iterator[datetime]:
    """The ticks after an instant, in UTC, in order. Raises ScheduleError."""
    if schedule.start_at is not None:
        instant = max(instant, schedule.start_at)
    for tick in any_ticks_after(schedule, instant):
        if schedule.end_at is not None and tick > schedule.end_at:
            return
        yield tick


def next_tick(schedule: Schedule, instant: datetime) -> datetime | None:
    """The first tick after an instant. None: there is none any more. Raises ScheduleError."""
    return next(ticks_after(schedule, instant), None)


def last_tick(schedule: Schedule, instant: datetime) -> datetime | None:
    """The last tick at or before an instant. None: there is none yet. Raises ScheduleError."""
    if schedule.end_at is not None:
        instant = min(instant, schedule.end_at)
    tick = next(_fires(schedule).before(instant.astimezone(UTC) + _MOMENT), None)
    return tick if tick is not None and (schedule.start_at is None or tick > schedule.start_at) else None


def interval_of(schedule: Schedule, tick: datetime) -> Interval:
    """From the tick before to this one. Raises ScheduleError."""
    before = next(_fires(schedule).before(tick), None)
    if before is None:
        raise ScheduleError("cron", f"{schedule.cron!r} has no time before {tick.isoformat()}", "name other days")
    return Interval(start=before, end=tick)


def told(schedule: Schedule, ticks: Iterator[datetime]) -> Iterator[Tick]:
    """Successive ticks of a schedule, each with its interval. Raises ScheduleError."""
    previous: datetime | None = None
    for tick in ticks:
        yield Tick(
            at=tick,
            interval=interval_of(schedule, tick) if previous is None else Interval(start=previous, end=tick),
        )
        previous = tick


def latest_interval(schedule: Schedule, instant: datetime) -> Interval | None:
    """The latest interval that is over: what a run by hand is about. None: none is over yet. Raises ScheduleError."""
    tick = last_tick(schedule, instant)
    return interval_of(schedule, tick) if tick is not None else None


def _fires(schedule: Schedule) -> _Fires:
    if schedule.every_seconds is not None:
        return _Every(schedule.every_seconds, schedule.start_at or EPOCH)
    try:
        return Cron(schedule.cron, zone_of(schedule.timezone))
    except UnknownZone as error:
        raise ScheduleError("timezone", str(error), "give an IANA name such as 'Europe/Zurich', or 'UTC'") from None
    except BadExpression as error:
        raise ScheduleError(
            "cron",
            f"{schedule.cron!r}: {error}",
            "give minute, hour, day of month, month, day of week, such as '30 1 * * MON-FRI'",
        ) from None
