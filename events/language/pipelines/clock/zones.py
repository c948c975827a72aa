"""Time zones from the `tzdata` package, not from the machine: all replicas of a service agree on when clocks change.

`offset_changes` finds the changes of a zone, which `zoneinfo` does not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import tzdata

TZDATA_VERSION: str = tzdata.IANA_VERSION
"""The release of the database of zones, such as ``2026a``. Which ticks a schedule has depends on it."""

_STEP = 12 * 3600
"""Seconds. No zone has ever changed its offset twice in half a day."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class UnknownZone(ValueError):
    """The database has no zone of this name."""


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone. Raises UnknownZone."""
    try:
        with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
            return ZoneInfo.from_file(data, key=name)
    except (OSError, ValueError):
        raise UnknownZone(f"{name!r} is no time zone of tzdata {TZDATA_VERSION}") from None


def offset_at(zone: tzinfo, instant: datetime) -> timedelta:
    """The zone's offset from UTC at an instant."""
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None, "a zone has an offset at any time"
    return offset


def wall_clock(zone: tzinfo, instant: datetime) -> datetime:
    """What clocks show at an instant, without a zone."""
    return instant.astimezone(zone).replace(tzinfo=None)


def first_instant(zone: tzinfo, wall: datetime) -> datetime:
    """When clocks first show `wall`, in UTC. If they leave it out, the moment at which they are put forward."""
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall_clock(zone, first) == wall:
        return first
    # In a gap fold=0 counts with the offset before it, so `first` is behind the change, and fold=1 the other way round.
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    change = next(offset_changes(zone, before, first), None)
    assert change is not None, "a time that no clock shows lies in a gap"
    return change


def offset_changes(zone: tzinfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """The instants after `start` and up to `end` from which the zone has another offset than just before, in order."""
    low, last = _seconds(start), _seconds(end)
    offset = offset_at(zone, _instant(low))
    while low < last:
        high = min(low + _STEP, last)
        after = offset_at(zone, _instant(high))
        if after != offset:
            yield _instant(_bisected(zone, low, high))
        low, offset = high, after


def last_offset_change(zone: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """The last one of `offset_changes`."""
    first, high = _seconds(start), _seconds(end)
    offset = offset_at(zone, _instant(high))
    while first < high:
        low = max(high - _STEP, first)
        before = offset_at(zone, _instant(low))
        if before != offset:
            return _instant(_bisected(zone, low, high))
        high = low
    return None


def _bisected(zone: tzinfo, low: int, high: int) -> int:
    """The second from which the offset is that of `high`, which is not that of `low`."""
    new = offset_at(zone, _instant(high))
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(zone, _instant(middle)) == new:
            high = middle
        else:
            low = middle
    return high


def _seconds(instant: datetime) -> int:
    """Whole seconds: changes are on whole seconds, so the offset at the second below is the same."""
    return (instant - _EPOCH) // _SECOND


def _instant(seconds: int) -> datetime:
    return _EPOCH + seconds * _SECOND
