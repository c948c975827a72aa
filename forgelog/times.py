"""Points in time as people write them (``10m ago``, ``03:12``, RFC 3339) and read them (``3m ago``). Knows no clock:
the present is given.

A local time has the offset that its zone had at that time, which a change of clocks may make another than today's. A
time that a change of clocks gives twice is the first of the two; one that it skips is read with the offset from before
the change (RFC 5545, section 3.3.5). Who means the other writes the offset: ``2026-10-25T02:30:00+01:00``.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from forgelog.units import format_duration, parse_duration, quoted

_CLOCK = re.compile(r"^(?:(today|yesterday) )?(\d{1,2}):(\d{2})(?::(\d{2}))?$")
_COUNTED = re.compile(r"^([0-9.]+) ?(second|minute|hour|day|week)s?$")
_HELP = "write for example '10m ago', '03:12', 'yesterday 03:12', '2026-05-09' or '2026-05-09T03:12:00Z'"


def parse_time(text: str, now: datetime, zone: tzinfo | None = None, *, future: bool = False) -> datetime:
    """The moment `text` names, in UTC. A clock time is the latest one that has passed. A time without an offset is a
    local time of `zone`; of this machine's zone when left out. `future`: whether it may be yet to come. Raises
    ValueError that says what to write."""
    words, now = text.strip(), now.astimezone(UTC)  # else arithmetic would be on the clock's face
    if words == "now":
        return now
    try:
        if words.endswith(" ago"):
            length = words.removesuffix(" ago").strip()
            if counted := _COUNTED.match(length):  # 1 day, 3 weeks
                length = counted[1] + counted[2][0]
            moment = now - timedelta(seconds=parse_duration(length))
        elif words in ("today", "yesterday"):  # as a date: its midnight
            moment = _local(now.astimezone(zone).date() - timedelta(days=words == "yesterday"), time(), zone)
        elif clock := _CLOCK.match(words):
            day, hour, minute, second = clock.groups()
            at = time(int(hour), int(minute), int(second or 0))
            today = now.astimezone(zone).date()
            moment = _local(today, at, zone)
            if day == "yesterday" or (day is None and moment > now):
                moment = _local(today - timedelta(days=1), at, zone)
        else:
            moment = datetime.fromisoformat(words)
            if moment.tzinfo is None:
                moment = _local(moment.date(), moment.time(), zone)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{quoted(text)} is not a time; {_HELP}") from None
    if moment > now and not future:
        raise ValueError(f"{quoted(text)} is in the future; give a past time")
    return moment


def _local(day: date, at: time, zone: tzinfo | None) -> datetime:
    """A local time of a zone as a moment, in UTC. (`fold` 0 is the rule of RFC 5545: see PEP 495.)"""
    return datetime.fromtimestamp(datetime.combine(day, at.replace(fold=0), zone).timestamp(), UTC)


def ago(moment: datetime, now: datetime) -> str:
    """``3m ago``, ``in 5s``, ``now``: one unit, for tables."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size = re.sub(r"(?<=[a-z])\d.*$", "", format_duration(float(round(abs(seconds)))))
    return f"{size} ago" if seconds > 0 else f"in {size}"
