"""When a schedule fires: tables of UTC instants and intervals where clocks change, and what holds for any schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from events.language.pipelines.clock.ticks import (
    ScheduleError,
    check,
    interval_of,
    last_tick,
    latest_interval,
    next_tick,
    ticks_after,
    told,
)
from events.language.pipelines.clock.zones import wall_clock, zone_of
from events.language.pipelines.schedule import Interval, Schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


TABLE = {
    # New York: clocks go from 2:00 to 3:00 on 8 March (at 07:00 UTC), and from 2:00 back to 1:00 on 1 November.
    "in the gap: right after it": (
        "30 2 * * *", "America/New_York", "2026-03-06 12:00",
        ["2026-03-07 07:30", "2026-03-08 07:00", "2026-03-09 06:30"],
    ),
    "two times in the gap: once": (
        "15,45 2 * * *", "America/New_York", "2026-03-07 12:00",
        ["2026-03-08 07:00", "2026-03-09 06:15", "2026-03-09 06:45"],
    ),
    "in the gap and at its end: once": (
        "30 2,3 * * *", "America/New_York", "2026-03-07 12:00",
        ["2026-03-08 07:00", "2026-03-08 07:30", "2026-03-09 06:30", "2026-03-09 07:30"],
    ),
    "in the repeated hour: the first time": (
        "30 1 * * *", "America/New_York", "2026-10-30 12:00",
        ["2026-10-31 05:30", "2026-11-01 05:30", "2026-11-02 06:30"],
    ),
    "begun between the two passes: not again": (
        "30 1 * * *", "America/New_York", "2026-11-01 06:10",
        ["2026-11-02 06:30"],
    ),
    "each hour: by elapsed time": (
        "0 * * * *", "America/New_York", "2026-11-01 03:30",
        ["2026-11-01 04:00", "2026-11-01 05:00", "2026-11-01 06:00", "2026-11-01 07:00"],
    ),
    "quarters of a repeated hour: twice": (
        "*/30 1 * * *", "America/New_York", "2026-10-31 12:00",
        ["2026-11-01 05:00", "2026-11-01 05:30", "2026-11-01 06:00", "2026-11-01 06:30", "2026-11-02 06:00"],
    ),
    "quarters of an hour that is left out: not that day": (
        "*/15 2 * * *", "America/New_York", "2026-03-07 07:20",
        ["2026-03-07 07:30", "2026-03-07 07:45", "2026-03-09 06:00", "2026-03-09 06:15"],
    ),
    # Zurich: 29 March and 25 October, at 01:00 UTC.
    "Zurich in spring": (
        "30 1 * * *", "Europe/Zurich", "2026-03-27 12:00",
        ["2026-03-28 00:30", "2026-03-29 00:30", "2026-03-29 23:30"],
    ),
    "Zurich in the gap": (
        "0 2 * * *", "Europe/Zurich", "2026-03-27 12:00",
        ["2026-03-28 01:00", "2026-03-29 01:00", "2026-03-30 00:00"],
    ),
    "Zurich in autumn": (
        "0 2 * * *", "Europe/Zurich", "2026-10-23 12:00",
        ["2026-10-24 00:00", "2026-10-25 00:00", "2026-10-26 01:00"],
    ),
    # Lord Howe Island: half an hour; from 2:00 back to 1:30 on 5 April, from 2:00 to 2:30 on 4 October.
    "half an hour back: the first time": (
        "45 1 * * *", "Australia/Lord_Howe", "2026-04-03 00:00",
        ["2026-04-03 14:45", "2026-04-04 14:45", "2026-04-05 15:15"],
    ),
    "half an hour back, by elapsed time": (
        "*/15 1-2 * * *", "Australia/Lord_Howe", "2026-04-04 14:20",
        ["2026-04-04 14:30", "2026-04-04 14:45", "2026-04-04 15:00", "2026-04-04 15:15", "2026-04-04 15:30"],
    ),
    "after half an hour back: nothing is left out": (
        "*/15 2 * * *", "Australia/Lord_Howe", "2026-04-04 00:00",
        ["2026-04-04 15:30", "2026-04-04 15:45", "2026-04-04 16:00", "2026-04-04 16:15", "2026-04-05 15:30"],
    ),
    "half an hour forwards": (
        "15 2 * * *", "Australia/Lord_Howe", "2026-10-02 00:00",
        ["2026-10-02 15:45", "2026-10-03 15:30", "2026-10-04 15:15"],
    ),
    # Cairo: the change is at midnight, 24 April 2026 from 0:00 to 1:00; 29 October from 24:00 back to 23:00.
    "midnight is left out": (
        "0 0 * * *", "Africa/Cairo", "2026-04-22 12:00",
        ["2026-04-22 22:00", "2026-04-23 22:00", "2026-04-24 21:00"],
    ),
    "the last hour of a day twice": (
        "30 23 * * *", "Africa/Cairo", "2026-10-28 12:00",
        ["2026-10-28 20:30", "2026-10-29 20:30", "2026-10-30 21:30"],
    ),
    # Apia left out 30 December 2011 as a whole.
    "a day that is left out": (
        "0 9 * * *", "Pacific/Apia", "2011-12-28 00:00",
        ["2011-12-28 19:00", "2011-12-29 19:00", "2011-12-30 10:00", "2011-12-30 19:00"],
    ),
    "each six hours over a day that is left out": (
        "0 */6 * * *", "Pacific/Apia", "2011-12-29 20:00",
        ["2011-12-29 22:00", "2011-12-30 04:00", "2011-12-30 10:00", "2011-12-30 16:00"],
    ),
    "29 February": (
        "0 12 29 2 *", "UTC", "2024-03-01 00:00",
        ["2028-02-29 12:00", "2032-02-29 12:00"],
    ),
    "29 February of a year that is a century": (
        "0 12 29 2 *", "UTC", "2096-03-01 00:00",
        ["2104-02-29 12:00"],
    ),
    "the last day of a month": (
        "0 0 L * *", "Europe/Zurich", "2026-01-15 00:00",
        ["2026-01-30 23:00", "2026-02-27 23:00", "2026-03-30 22:00"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("cron", "zone", "begun", "ticks"), TABLE.values(), ids=TABLE.keys())
def test_a_schedule_fires_at_these_instants_and_its_intervals_are_contiguous(
    cron: str, zone: str, begun: str, ticks: list[str]
) -> None:
    schedule = Schedule(cron=cron, timezone=zone)
    expected = [at(tick) for tick in ticks]
    fired = list(told(schedule, islice(ticks_after(schedule, at(begun)), len(ticks))))
    assert [tick.at for tick in fired] == expected
    assert [tick.interval.end for tick in fired] == expected
    assert [tick.interval.start for tick in fired][1:] == expected[:-1]
    assert [interval_of(schedule, tick) for tick in expected] == [tick.interval for tick in fired]


def test_the_interval_of_a_spring_day_is_shorter_and_of_an_autumn_day_longer() -> None:
    daily = Schedule(cron="0 9 * * *", timezone="America/New_York")
    hours = [(i.end - i.start) / timedelta(hours=1) for tick in ("2026-03-08 13:00", "2026-11-01 14:00")
             for i in [interval_of(daily, at(tick))]]  # fmt: skip
    assert hours == [23, 25]


def test_seconds_are_counted_from_the_epoch_or_from_the_start() -> None:
    assert next_tick(Schedule(every_seconds=10), at("2026-05-01 00:00:03")) == at("2026-05-01 00:00:10")
    from_start = Schedule(every_seconds=10, start_at=at("2026-05-01 00:00:03"))
    assert next_tick(from_start, at("2020-01-01")) == at("2026-05-01 00:00:13")
    assert interval_of(from_start, at("2026-05-01 00:00:13")).start == at("2026-05-01 00:00:03")


def test_a_schedule_has_no_tick_up_to_its_start_nor_after_its_end() -> None:
    bounded = Schedule(cron="0 0 * * *", start_at=at("2026-05-01"), end_at=at("2026-05-03"))
    assert list(ticks_after(bounded, at("2026-01-01"))) == [at("2026-05-02"), at("2026-05-03")]
    assert last_tick(bounded, at("2026-05-01 23:59")) is None
    assert last_tick(bounded, at("2027-01-01")) == at("2026-05-03")


def test_a_run_by_hand_is_about_the_latest_interval_that_is_over() -> None:
    daily = Schedule(cron="0 0 * * *")
    assert latest_interval(daily, at("2026-05-02")) == Interval(start=at("2026-05-01"), end=at("2026-05-02"))
    assert latest_interval(daily, at("2026-05-02 12:00")) == Interval(start=at("2026-05-01"), end=at("2026-05-02"))
    assert latest_interval(Schedule(cron="0 0 * * *", start_at=at("2026-05-02")), at("2026-05-02 12:00")) is None


@pytest.mark.parametrize(
    ("cron", "zone", "field", "problem"),
    [
        ("61 * * * *", "UTC", "cron", "bad minute"),
        ("* * * * MOON", "UTC", "cron", "bad day-of-week"),
        ("0 0 31 2 *", "UTC", "cron", "bad day-of-month"),
        ("0 0 * * *", "Europe/Zuerich", "timezone", "is no time zone of tzdata"),
        ("0 0 * * *", "leapseconds", "timezone", "is no time zone of tzdata"),
        ("0 0 * * *", "Europe", "timezone", "is no time zone of tzdata"),
    ],
)
def test_what_can_not_be_computed_names_its_field(cron: str, zone: str, field: str, problem: str) -> None:
    with pytest.raises(ScheduleError, match=problem) as caught:
        check(Schedule(cron=cron, timezone=zone))
    assert caught.value.field == field


ZONES = st.sampled_from(
    ["UTC", "America/New_York", "Europe/Zurich", "Europe/Dublin", "Australia/Lord_Howe", "Africa/Cairo",
     "Africa/Casablanca", "Asia/Kathmandu", "America/St_Johns", "America/Santiago", "Antarctica/Troll", "Pacific/Apia"]
)  # fmt: skip
MINUTES = st.sampled_from(["*", "*/15", "*/7", "0", "30", "59", "15,45", "0-10", "*/20,5"])
HOURS = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "23", "0,12", "1-3"])
DAYS = st.sampled_from(["*", "*", "*", "1", "L", "29"])
WEEKDAYS = st.sampled_from(["*", "*", "*", "MON-FRI", "SUN", "SUN#1"])
CRONS = st.builds("{} {} {} * {}".format, MINUTES, HOURS, DAYS, WEEKDAYS)
SCHEDULES = st.builds(lambda cron, zone: Schedule(cron=cron, timezone=zone), CRONS, ZONES) | st.builds(
    lambda seconds: Schedule(every_seconds=seconds), st.integers(1, 100_000)
)
INSTANTS = st.datetimes(datetime(2009, 1, 1), datetime(2037, 1, 1)).map(lambda when: when.replace(tzinfo=UTC))
CHANGES = st.sampled_from(
    [at(text) for text in ("2026-03-08 07:00", "2026-11-01 06:00", "2026-03-29 01:00", "2026-10-25 01:00",
                           "2026-04-04 15:00", "2026-10-03 15:30", "2026-04-23 22:00", "2026-10-29 21:00",
                           "2011-12-30 10:00", "2026-02-15 02:00", "2026-03-22 02:00")]
)  # fmt: skip
NEAR = st.builds(lambda change, minutes: change + timedelta(minutes=minutes), CHANGES, st.integers(-1600, 400))


@settings(max_examples=150, deadline=None)
@given(SCHEDULES, INSTANTS | NEAR)
def test_intervals_are_never_empty_never_overlap_and_are_contiguous(schedule: Schedule, begun: datetime) -> None:
    ticks = list(islice(ticks_after(schedule, begun), 12))
    assume(ticks)
    assert begun < ticks[0]
    assert all(one < other for one, other in pairwise(ticks))
    intervals = [interval_of(schedule, tick) for tick in ticks]
    assert all(interval.start < interval.end for interval in intervals)
    assert all(one.end == other.start for one, other in pairwise(intervals))
    assert intervals[0].start <= begun, "no tick lies between the start of the first interval and its end"
    assert [last_tick(schedule, tick) for tick in ticks] == ticks
    assert last_tick(schedule, ticks[1] - timedelta(microseconds=1)) == ticks[0]


@settings(max_examples=60, deadline=None)
@given(CRONS, ZONES, NEAR)
def test_instants_are_those_of_a_look_at_each_minute(cron: str, zone: str, begun: datetime) -> None:
    """The oracle walks over two days minute by minute, with Python's zones alone."""
    until = begun + timedelta(days=2)
    fired = list(takewhile(lambda tick: tick <= until, ticks_after(Schedule(cron=cron, timezone=zone), begun)))
    assert fired == list(by_minutes(cron, zone_of(zone), begun, until))


def by_minutes(cron: str, zone: ZoneInfo, begun: datetime, until: datetime) -> Iterator[datetime]:
    elapsed = cron.split()[0].startswith("*") or cron.split()[1].startswith("*")
    minute, first = timedelta(minutes=1), begun.replace(second=0, microsecond=0) - timedelta(days=2)
    last_wall = wall_clock(zone, until) + timedelta(days=2)
    calendar = set(takewhile(lambda wall: wall < last_wall, CronSim(cron, wall_clock(zone, first) - timedelta(days=2))))
    shown: set[datetime] = set()
    previous = wall_clock(zone, first - minute)
    for number in range(int((until - first) / minute) + 1):
        instant = first + number * minute
        wall = wall_clock(zone, instant)
        left_out = [previous + minute * k for k in range(1, int((wall - previous) / minute))]
        walls = [wall] if elapsed else [*left_out, wall]
        fires = any(each in calendar and (elapsed or each not in shown) for each in walls)
        shown.update(walls)
        previous = wall
        if fires and begun < instant <= until:
            yield instant
