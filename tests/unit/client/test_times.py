"""Times as people write and read them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgelog.times import ago, parse_time

ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 5, 9, 14, 30, 0, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", datetime(2026, 5, 9, 12, 30, tzinfo=UTC)),
        ("10m ago", datetime(2026, 5, 9, 12, 20, tzinfo=UTC)),
        ("1h30m ago", datetime(2026, 5, 9, 11, 0, tzinfo=UTC)),
        ("1 day ago", datetime(2026, 5, 8, 12, 30, tzinfo=UTC)),
        ("2 weeks ago", datetime(2026, 4, 25, 12, 30, tzinfo=UTC)),
        ("90 minutes ago", datetime(2026, 5, 9, 11, 0, tzinfo=UTC)),
        ("today", datetime(2026, 5, 8, 22, 0, tzinfo=UTC)),
        ("yesterday", datetime(2026, 5, 7, 22, 0, tzinfo=UTC)),
        ("03:12", datetime(2026, 5, 9, 1, 12, tzinfo=UTC)),
        ("23:00", datetime(2026, 5, 8, 21, 0, tzinfo=UTC)),
        ("yesterday 03:12:05", datetime(2026, 5, 8, 1, 12, 5, tzinfo=UTC)),
        ("2026-05-01", datetime(2026, 4, 30, 22, 0, tzinfo=UTC)),
        ("2026-05-09T03:12:00Z", datetime(2026, 5, 9, 3, 12, tzinfo=UTC)),
        ("2026-05-09 03:12:00+02:00", datetime(2026, 5, 9, 1, 12, tzinfo=UTC)),
    ],
)
def test_times(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW, ZONE) == moment


@pytest.mark.parametrize("text", ["", "soon", "25:00", "10 parsecs ago", "2026-13-01", "99999999999d ago"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="write for example '10m ago'"):
        parse_time(text, NOW, ZONE)


@pytest.mark.parametrize("text", ["2030-01-01", "today 23:00"])
def test_the_future_is_not_in_the_log(text: str) -> None:
    with pytest.raises(ValueError, match="in the future"):
        parse_time(text, NOW, ZONE)


@given(st.text(max_size=30))
def test_any_text_is_a_past_time_or_refused(text: str) -> None:
    try:
        moment = parse_time(text, NOW, ZONE)
    except ValueError:
        return
    assert moment <= NOW


BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 29, 12, 0, tzinfo=BERLIN)
"""Clocks went from 02:00 (+01:00) to 03:00 (+02:00) this morning."""
AUTUMN = datetime(2026, 10, 25, 12, 0, tzinfo=BERLIN)
"""Clocks went from 03:00 (+02:00) to 02:00 (+01:00) this morning."""


@pytest.mark.parametrize(
    ("now", "text", "moment"),
    [
        (SPRING, "yesterday 18:00", "2026-03-28T18:00+01:00"),
        (SPRING, "2026-03-28", "2026-03-28T00:00+01:00"),
        (SPRING, "2026-01-15T12:00:00", "2026-01-15T12:00+01:00"),
        (SPRING, "today 01:30", "2026-03-29T01:30+01:00"),
        (SPRING, "11:30", "2026-03-29T11:30+02:00"),
        (SPRING, "13:00", "2026-03-28T13:00+01:00"),
        (SPRING, "12h ago", "2026-03-28T23:00+01:00"),
        (AUTUMN, "yesterday 18:00", "2026-10-24T18:00+02:00"),
        (AUTUMN, "2026-07-01T12:00:00", "2026-07-01T12:00+02:00"),
    ],
)
def test_a_local_time_has_the_offset_of_its_own_day(now: datetime, text: str, moment: str) -> None:
    assert parse_time(text, now, BERLIN) == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    ("now", "text", "moment"),
    [
        (SPRING, "02:30", "2026-03-29T03:30+02:00"),
        (SPRING, "2026-03-29 02:30", "2026-03-29T03:30+02:00"),
        (AUTUMN, "02:30", "2026-10-25T02:30+02:00"),
        (AUTUMN, "2026-10-25 02:30", "2026-10-25T02:30+02:00"),
        (AUTUMN, "2026-10-25 02:30+01:00", "2026-10-25T02:30+01:00"),
    ],
)
def test_a_skipped_time_has_the_offset_before_and_one_given_twice_is_the_first(
    now: datetime, text: str, moment: str
) -> None:
    assert parse_time(text, now, BERLIN) == datetime.fromisoformat(moment)


def test_without_a_zone_it_is_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        winter, gap = parse_time("2026-01-15 12:00", NOW), parse_time("2026-03-08 02:30", NOW)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert winter == datetime.fromisoformat("2026-01-15T12:00-05:00")
    assert gap == datetime.fromisoformat("2026-03-08T03:30-04:00")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "now"), (12, "12s ago"), (200, "3m ago"), (7300, "2h ago"), (90_000, "1d ago"), (-5, "in 5s")],
)
def test_ages(seconds: float, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text
