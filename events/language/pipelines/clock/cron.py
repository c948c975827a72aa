"""The instants at which a cron expression fires in a time zone, forwards and backwards.

`cronsim` computes the calendar, on wall clocks without a zone. How wall clocks become instants is decided here, as
Debian's cron does it: an expression whose minutes or hours begin with ``*`` *follows elapsed time*, any other one has
*fixed times*.

- Fixed times: each time of the calendar fires once: in a repeated hour the first time, in a gap right after it.
- Elapsed time: it fires at each instant at which clocks show a time of the calendar: in a repeated hour twice, in a gap
  not at all.

(cronsim's own conversion leaves out fires after a change of half an hour, as on Lord Howe Island, and yields a time
before its start when it is started within a repeated hour.)
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from events.language.pipelines.clock.zones import (
    first_instant,
    last_offset_change,
    offset_at,
    offset_changes,
    wall_clock,
)

_SECOND = timedelta(seconds=1)
_MOMENT = timedelta(microseconds=1)


class BadExpression(ValueError):
    """No cron expression; the text says which field is wrong."""


class Cron:
    """A cron expression in a zone. Raises BadExpression."""

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        self._expression, self._zone = expression, zone
        fields = expression.split()
        if len(fields) != 5:
            raise BadExpression("has not five fields")
        try:
            self._calendar(datetime(2000, 1, 1))
        except CronSimError as error:
            raise BadExpression(str(error)[:1].lower() + str(error)[1:]) from None
        self._elapsed = fields[0].startswith("*") or fields[1].startswith("*")

    def after(self, instant: datetime) -> Iterator[datetime]:
        """All fires after an instant, in UTC, in order. It ends where the calendar has none for fifty years."""
        try:
            yield from self._elapsed_after(instant) if self._elapsed else self._fixed_after(instant)
        except OverflowError:  # the end of Python's calendar
            return

    def before(self, instant: datetime) -> Iterator[datetime]:
        """All fires before an instant, in UTC, the newest first."""
        try:
            yield from self._elapsed_before(instant) if self._elapsed else self._fixed_before(instant)
        except OverflowError:
            return

    def _calendar(self, wall: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """The calendar's times after (before) a wall clock, without it."""
        return CronSim(self._expression, wall, reverse=reverse)

    def _fixed_after(self, instant: datetime) -> Iterator[datetime]:
        # `first_instant` never decreases, so nothing up to the wall clock of now fires later.
        for wall in self._calendar(wall_clock(self._zone, instant)):
            fire = first_instant(self._zone, wall)
            if fire > instant:  # not so within a repeated hour, and for the second of two times in one gap
                yield fire
                instant = fire

    def _fixed_before(self, instant: datetime) -> Iterator[datetime]:
        # In the second pass of a repeated hour, all its times have fired: those too that clocks don't show yet again.
        shown = wall_clock(self._zone, instant)
        offset = shown.replace(tzinfo=self._zone, fold=0).utcoffset()
        assert offset is not None
        for wall in self._calendar(instant.astimezone(UTC).replace(tzinfo=None) + offset, reverse=True):
            fire = first_instant(self._zone, wall)
            if fire < instant:
                yield fire
                instant = fire

    def _elapsed_after(self, instant: datetime) -> Iterator[datetime]:
        """Offset by offset: while it stays the same, wall clocks and instants run alike."""
        offset = offset_at(self._zone, instant)
        calendar = self._calendar(wall_clock(self._zone, instant))
        while (wall := next(calendar, None)) is not None:
            fire = (wall - offset).replace(tzinfo=UTC)
            change = next(offset_changes(self._zone, instant, fire), None)
            if change is None:
                yield fire
                instant = fire
            else:
                instant, offset = change, offset_at(self._zone, change)
                calendar = self._calendar(wall_clock(self._zone, change) - _SECOND)

    def _elapsed_before(self, instant: datetime) -> Iterator[datetime]:
        while True:
            last = instant - _MOMENT
            offset = offset_at(self._zone, last)
            for wall in self._calendar(instant.astimezone(UTC).replace(tzinfo=None) + offset, reverse=True):
                fire = (wall - offset).replace(tzinfo=UTC)
                change = last_offset_change(self._zone, fire, last)
                if change is not None:
                    instant = change
                    break
                yield fire
                last = fire
            else:
                return
