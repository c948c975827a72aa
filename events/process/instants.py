"""Moments in texts for people and programs: always in UTC, always written alike."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(time: datetime) -> str:
    """``2026-05-09T03:12:00Z`` (RFC 3339), with microseconds where it has any."""
    moment = time.astimezone(UTC)
    return moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")
