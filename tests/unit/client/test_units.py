"""Units as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgelog.units import counted, format_bytes, format_duration, parse_bytes, parse_cpus, parse_duration


@pytest.mark.parametrize(
    ("text", "amount"),
    [("4Gi", 4 << 30), ("512M", 512_000_000), ("512Mi", 512 << 20), ("1.5GiB", 3 << 29), ("10 kB", 10_000), ("7", 7)],
)
def test_amounts(text: str, amount: int) -> None:
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "4 gigs", "-1Gi", "Gi", "1e3", "4gi", "nan"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("2h", 7200), ("1h30m", 5400), ("500ms", 0.5), ("1d 2h", 93_600), ("12", 12), ("0.5", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 minutes", "1h x", "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        parse_duration(text)


def test_cpus() -> None:
    assert parse_cpus("500m") == 0.5
    assert parse_cpus("2") == 2
    with pytest.raises(ValueError, match="500m"):
        parse_cpus("two")


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (1023, "1023"), (1024, "1Ki"), (3 << 29, "1.5Gi"), (1 << 50, "1Pi")]
)
def test_amounts_for_people(amount: int, text: str) -> None:
    assert format_bytes(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0123, "12ms"),
        (4.25, "4.2s"),
        (59.6, "1m"),
        (61, "1m1s"),
        (3600, "1h"),
        (3725, "1h2m"),
        (90_000, "1d1h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0, 1e9))
def test_a_shown_duration_can_be_typed(seconds: float) -> None:
    shown = parse_duration(format_duration(seconds))
    assert abs(shown - seconds) <= max(0.06 * seconds, 0.002)


def test_what_is_counted_is_one_or_several() -> None:
    assert [counted(count, "row") for count in (0, 1, 2, 1_200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
