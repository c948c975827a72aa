"""Points in time as people write them (``10m ago``, ``03:12``, RFC 3339) and read them (``3m ago``). Knows no clock:
the present is given."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from forgelog.units import format_duration, parse_duration

_CLOCK = re.compile(r"^(?:(today|yesterday) )?(\d{1,2}):(\d{2})(?::(\d{2}))?$")
_HELP = "write for example '10m ago', '03:12', 'yesterday 03:12', '2026-05-09' or '2026-05-09T03:12:00Z'"


def parse_time(text: str, now: datetime) -> datetime:
    """The moment `text` names, in UTC. A clock time is the latest one that has passed, in the zone of `now`; a time
    without a zone is in the zone of `now`. Raises ValueError that says what to write."""
    words = text.strip()
    if words == "now":
        return now.astimezone(UTC)
    if words.endswith(" ago"):
        try:
            return (now - timedelta(seconds=parse_duration(words.removesuffix(" ago")))).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError(f"{text!r} is not a time; {_HELP}") from None
    clock = _CLOCK.match(words)
    try:
        if clock:
            day, hour, minute, second = clock.groups()
            moment = now.replace(hour=int(hour), minute=int(minute), second=int(second or 0), microsecond=0)
            if day == "yesterday" or (day is None and moment > now):
                moment -= timedelta(days=1)
        else:
            moment = datetime.fromisoformat(words)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=now.tzinfo)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time; {_HELP}") from None
    if moment > now:
        raise ValueError(f"{text!r} is in the future; the log tells of the past only")
    return moment.astimezone(UTC)


def ago(moment: datetime, now: datetime) -> str:
    """``3m ago``, ``in 5s``, ``now``: one unit, for tables."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size = re.sub(r"(?<=[a-z])\d.*$", "", format_duration(float(round(abs(seconds)))))
    return f"{size} ago" if seconds > 0 else f"in {size}"
