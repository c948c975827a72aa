"""Ticks that have come, missed promises, and backfills: given a schedule and a time, then these."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.language.pipelines.backfill import BackfillRerun
from events.language.pipelines.clock import backfilling, validity
from events.language.pipelines.clock.catching_up import MOST_SKIPPED, Handled, Skipped, due_at, handle
from events.language.pipelines.clock.coverage import Coverage
from events.language.pipelines.clock.promises import missed_tick, run_deadline, tick_deadline
from events.language.pipelines.schedule import CatchUp, Interval, Schedule
from events.language.pipelines.sla import Sla, SlaKind


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hourly(catch_up: CatchUp) -> Schedule:
    return Schedule(cron="0 * * * *", catch_up=catch_up)


def fires(handled: Handled) -> list[str]:
    return [tick.at.strftime("%H:%M") for tick in handled.fires]


NOON = at("2026-05-09 12:00")


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_a_tick_that_is_handled_in_time_fires(catch_up: CatchUp) -> None:
    handled = handle(hourly(catch_up), NOON - timedelta(hours=1), NOON + timedelta(seconds=20), room=1)
    assert (handled.skipped, fires(handled)) == (None, ["12:00"])
    assert handled.fires[0].interval == Interval(start=NOON - timedelta(hours=1), end=NOON)


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_before_the_next_tick_nothing_happens(catch_up: CatchUp) -> None:
    assert handle(hourly(catch_up), NOON, NOON + timedelta(minutes=59), room=9) == (None, ())


@pytest.mark.parametrize(
    ("catch_up", "skipped", "fired"),
    [
        (CatchUp.LATEST, Skipped(at("2026-05-09 09:00"), at("2026-05-09 11:00"), 3), ["12:00"]),
        (CatchUp.ALL, None, ["09:00", "10:00", "11:00", "12:00"]),
        (CatchUp.NONE, Skipped(at("2026-05-09 09:00"), at("2026-05-09 12:00"), 4), []),
    ],
)
def test_after_a_pause_the_schedule_says_which_ticks_fire(
    catch_up: CatchUp, skipped: Skipped | None, fired: list[str]
) -> None:
    handled = handle(hourly(catch_up), at("2026-05-09 08:00"), NOON + timedelta(minutes=30), room=9)
    assert (handled.skipped, fires(handled)) == (skipped, fired)


def test_all_ticks_fire_as_room_allows_and_none_is_due_without_room() -> None:
    schedule = hourly(CatchUp.ALL)
    assert fires(handle(schedule, at("2026-05-09 08:00"), NOON, room=2)) == ["09:00", "10:00"]
    assert due_at(schedule, at("2026-05-09 10:00"), room=1) == at("2026-05-09 11:00")
    assert due_at(schedule, at("2026-05-09 10:00"), room=0) is None
    assert handle(hourly(CatchUp.LATEST), at("2026-05-09 11:00"), NOON, room=0) == (Skipped(NOON, NOON, 1), ())
    assert due_at(hourly(CatchUp.LATEST), at("2026-05-09 10:00"), room=0) == at("2026-05-09 11:00")


def test_many_ticks_are_passed_over_in_steps_and_the_newest_fires_in_the_end() -> None:
    schedule, begun = Schedule(cron="* * * * *"), at("2026-05-01")
    now = begun + timedelta(minutes=2 * MOST_SKIPPED + 5)
    first = handle(schedule, begun, now, room=1)
    assert first.skipped == Skipped(begun + timedelta(minutes=1), begun + timedelta(minutes=MOST_SKIPPED), MOST_SKIPPED)
    assert first.fires == ()
    second = handle(schedule, first.skipped.last, now, room=1)
    third = handle(schedule, second.skipped.last if second.skipped else now, now, room=1)
    assert third.skipped == Skipped(now - timedelta(minutes=4), now - timedelta(minutes=1), 4)
    assert [tick.at for tick in third.fires] == [now]


def test_a_schedule_that_has_ended_is_never_due() -> None:
    ended = Schedule(cron="0 * * * *", end_at=NOON)
    assert due_at(ended, NOON, room=1) is None
    assert handle(ended, NOON, NOON + timedelta(days=1), room=1) == (None, ())


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(list(CatchUp)), st.lists(st.integers(1, 5_000), min_size=1, max_size=8), st.integers(0, 3))
def test_every_tick_fires_or_is_passed_over_once_whenever_the_writer_wakes(
    catch_up: CatchUp, waits: list[int], room: int
) -> None:
    schedule = Schedule(cron="*/5 * * * *", catch_up=catch_up)
    cursor = now = begun = at("2026-10-24 23:00")
    seen: list[datetime] = []
    skipped = 0
    for minutes in waits:
        now += timedelta(minutes=minutes)
        handled = handle(schedule, cursor, now, room)
        if handled.skipped is not None:
            assert handled.skipped.first > cursor
            skipped, cursor = skipped + handled.skipped.ticks, handled.skipped.last
        for tick in handled.fires:
            assert cursor < tick.at <= now
            seen, cursor = [*seen, tick.at], tick.at
    assert all(one < other for one, other in pairwise(seen))
    assert skipped + len(seen) == (cursor - begun) // timedelta(minutes=5)


NIGHTLY = Schedule(cron="30 1 * * *", timezone="Europe/Zurich")
MORNING = Sla(finish_by="06:00")


def test_a_run_is_held_to_seconds_since_it_was_due() -> None:
    sla = Sla(start_within_seconds=60, finish_within_seconds=3600)
    assert run_deadline(sla, SlaKind.START_WITHIN, NOON) == at("2026-05-09 12:01")
    assert run_deadline(sla, SlaKind.FINISH_WITHIN, NOON) == at("2026-05-09 13:00")
    assert run_deadline(sla, SlaKind.FINISH_BY, NOON) is None
    assert run_deadline(MORNING, SlaKind.START_WITHIN, NOON) is None


def test_a_tick_has_until_the_next_morning_in_the_zone_of_the_schedule() -> None:
    assert tick_deadline(MORNING, NIGHTLY, at("2026-05-08 23:30")) == at("2026-05-10 04:00")
    assert tick_deadline(MORNING, NIGHTLY, at("2026-10-23 23:30")) == at("2026-10-25 05:00")
    assert tick_deadline(Sla(start_within_seconds=1), NIGHTLY, NOON) is None


def test_of_many_ticks_a_day_the_last_one_before_the_deadline_counts() -> None:
    assert missed_tick(MORNING, Schedule(cron="0 * * * *"), at("2026-05-09 06:30")) == (
        at("2026-05-09 05:00"),
        at("2026-05-09 06:00"),
    )
    assert missed_tick(MORNING, Schedule(cron="0 6 * * *"), at("2026-05-09 06:30")) == (
        at("2026-05-08 06:00"),
        at("2026-05-09 06:00"),
    )


def test_ranges_that_touch_become_one() -> None:
    coverage = Coverage()
    for start, end in ((0, 1), (4, 5), (1, 2), (7, 9), (3, 4)):
        coverage.add(Interval(start=NOON + timedelta(hours=start), end=NOON + timedelta(hours=end)))
    assert [((a - NOON) // timedelta(hours=1), (b - NOON) // timedelta(hours=1)) for a, b in coverage.ranges()] == [
        (0, 2),
        (3, 5),
        (7, 9),
    ]
    assert coverage.covers(Interval(start=NOON, end=NOON + timedelta(hours=2)))
    assert not coverage.covers(Interval(start=NOON, end=NOON + timedelta(hours=3)))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=20), st.integers(0, 50), st.integers(1, 9))
def test_coverage_is_that_of_a_set_of_hours(added: list[tuple[int, int]], start: int, length: int) -> None:
    coverage, hours = Coverage(), set[int]()
    for first, many in added:
        coverage.add(Interval(start=NOON + timedelta(hours=first), end=NOON + timedelta(hours=first + many)))
        hours |= set(range(first, first + many))
    asked = Interval(start=NOON + timedelta(hours=start), end=NOON + timedelta(hours=start + length))
    assert coverage.covers(asked) == (set(range(start, start + length)) <= hours)
    assert all(one[1] < other[0] for one, other in pairwise(coverage.ranges()))


DAILY = Schedule(cron="0 0 * * *", start_at=at("2026-05-01"))


def days(step: backfilling.Step) -> list[int]:
    return [interval.start.day for interval in step.run]


def test_a_backfill_has_the_whole_intervals_of_its_time_also_before_the_schedule_begins() -> None:
    found = list(backfilling.intervals(DAILY, at("2026-02-26 12:00"), at("2026-03-02 12:00")))
    assert [interval.start for interval in found] == [at("2026-02-27"), at("2026-02-28"), at("2026-03-01")]
    assert backfilling.count(DAILY, at("2026-01-01"), at("2027-01-01")) == 365


def test_a_backfill_goes_on_from_its_cursor_and_passes_over_what_has_run() -> None:
    tried, completed = Coverage(), Coverage()
    for day in (2, 3, 5):
        tried.add(Interval(start=at(f"2026-05-0{day}"), end=at(f"2026-05-0{day + 1}")))
    completed.add(Interval(start=at("2026-05-02"), end=at("2026-05-03")))
    begun, until = at("2026-05-01"), at("2026-05-08")

    def step(cursor: datetime, room: int, wanted: BackfillRerun) -> backfilling.Step:
        return backfilling.step(DAILY, cursor, until, room, wanted, tried, completed)

    first = step(begun, 2, BackfillRerun.MISSING)
    assert (days(first), first.passed, first.cursor, first.exhausted) == ([1, 4], 2, at("2026-05-05"), False)
    second = step(first.cursor, 2, BackfillRerun.MISSING)
    assert (days(second), second.passed, second.exhausted) == ([6, 7], 1, True)
    assert days(step(begun, 9, BackfillRerun.FAILED)) == [1, 3, 4, 5, 6, 7]
    assert days(step(begun, 9, BackfillRerun.ALL)) == [1, 2, 3, 4, 5, 6, 7]
    assert step(begun, 0, BackfillRerun.ALL) == ((), 0, begun, False)


def test_problems_of_a_schedule_name_their_fields() -> None:
    assert validity.problems(Schedule(cron="0 0 * * *"), MORNING) == []
    (zone,) = validity.problems(Schedule(cron="0 0 * * *", timezone="Mars/Base"))
    assert zone.field == "spec.schedule.timezone"
    (cron,) = validity.problems(Schedule(cron="0 24 * * *"), path="pipeline")
    assert (cron.field, cron.problem) == ("pipeline.schedule.cron", "'0 24 * * *': bad hour")
    (alone,) = validity.problems(None, MORNING)
    assert alone.field == "spec.sla.finish_by"
