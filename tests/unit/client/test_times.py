"""Times as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

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
        ("03:12", datetime(2026, 5, 9, 1, 12, tzinfo=UTC)),
        ("23:00", datetime(2026, 5, 8, 21, 0, tzinfo=UTC)),
        ("yesterday 03:12:05", datetime(2026, 5, 8, 1, 12, 5, tzinfo=UTC)),
        ("2026-05-01", datetime(2026, 4, 30, 22, 0, tzinfo=UTC)),
        ("2026-05-09T03:12:00Z", datetime(2026, 5, 9, 3, 12, tzinfo=UTC)),
        ("2026-05-09 03:12:00+02:00", datetime(2026, 5, 9, 1, 12, tzinfo=UTC)),
    ],
)
def test_times(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "25:00", "10 parsecs ago", "2026-13-01", "99999999999d ago"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="write for example '10m ago'"):
        parse_time(text, NOW)


@pytest.mark.parametrize("text", ["2030-01-01", "today 23:00"])
def test_the_future_is_not_in_the_log(text: str) -> None:
    with pytest.raises(ValueError, match="in the future"):
        parse_time(text, NOW)


@given(st.text(max_size=30))
def test_any_text_is_a_past_time_or_refused(text: str) -> None:
    try:
        moment = parse_time(text, NOW)
    except ValueError:
        return
    assert moment <= NOW


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "now"), (12, "12s ago"), (200, "3m ago"), (7300, "2h ago"), (90_000, "1d ago"), (-5, "in 5s")],
)
def test_ages(seconds: float, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text
