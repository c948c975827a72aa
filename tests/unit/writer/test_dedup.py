"""Which commands a partition remembers: the newest, and beyond them the young, as its own times say."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.common import CommandNoted
from events.process import metrics
from events.writer import dedup
from events.writer.dedup import Dedup, First
from tests.unit.writer.test_projects_apart import Log, submit

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def after(count: int, seconds: float, known: Dedup | None = None, since: float = 0.0) -> Dedup:
    """What is known after so many commands, evenly over so many seconds."""
    known = known or Dedup("jobs")
    first = len(known)
    for number in range(first, first + count):
        now = at(since + seconds * (number - first) / count)
        known.remember(f"c-{number}", f"d-{number}", -1, now)
        known.appended(f"c-{number}", number)
    return known


def test_a_repeat_after_200_000_others_within_ten_minutes_is_a_repeat() -> None:
    known = after(200_001, 590)
    assert known.find("c-0", "d-0", at(590)) == First(True, 0)
    assert known.find("c-0", "another body", at(590)) == First(False, 0)
    assert known.find("c-99999", "d-99999", at(590)) == First(True, 99_999)
    assert known.find("c-200000", "d-200000", at(590)) == First(True, 200_000)
    assert known.find("c-200001", "d", at(590)) is None


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "NEWEST", 100)


@pytest.mark.usefixtures("few")
def test_beyond_the_newest_what_is_older_than_ten_minutes_is_forgotten() -> None:
    known = after(1_000, 1_200)
    assert known.find("c-0", "d-0", at(1_200)) is None
    assert known.find("c-499", "d-499", at(1_200)) is None
    assert known.find("c-500", "d-500", at(1_200)) == First(True, 500)
    assert len(known) == 500
    assert known.find("c-950", "d-950", at(99_999)) == First(True, 950), "it is one of the newest"
    assert known.find("c-x", "d", at(99_999)) is None
    assert len(known) == 100, "the others have left"


@pytest.mark.usefixtures("few")
def test_after_eight_days_nothing_is_a_repeat_and_an_id_can_be_used_again() -> None:
    known = after(10, 10)
    week = 7 * 24 * 3600
    assert known.find("c-3", "d-3", at(week)) is not None
    assert known.find("c-3", "d-3", at(week + 24 * 3600)) is None
    known.remember("c-3", "d-new", 77, at(week + 24 * 3600))
    assert known.find("c-3", "d-new", at(week + 24 * 3600)) == First(True, 77)


@pytest.mark.usefixtures("few")
def test_the_answer_to_a_late_repeat_does_not_take_the_first_one_s_place() -> None:
    known = after(1_000, 60)
    known.remember("c-5", "d-5", 5_000, at(61))
    assert known.find("c-5", "d-5", at(61)) == First(True, 5)


@pytest.mark.usefixtures("few")
def test_what_falls_out_of_the_most_that_is_remembered_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "MOST_HASHED", 1_000)
    counter = metrics.dedup_forgotten.labels("jobs")
    before = counter._value.get()
    known = after(2_000, 200)
    forgotten = counter._value.get() - before
    assert forgotten == 900, "by the second, the oldest first"
    assert known.find("c-899", "d-899", at(200)) is None
    assert known.find("c-900", "d-900", at(200)) == First(True, 900)


@pytest.mark.usefixtures("few")
def test_while_the_partition_s_time_stands_the_oldest_fall_out_too_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that had jumped ahead and came back: until it is there again, all commands have one time."""
    monkeypatch.setattr(dedup, "MOST_HASHED", 1_000)
    known = after(5_000, 0)
    assert 1_050 <= len(known) <= 1_100
    again = Dedup("jobs")
    again.restore(known.newest(), known.hashed.packs())
    for each in (known, again):
        assert each.find("c-4000", "d-4000", at(0)) == First(True, 4_000)
        assert each.find("c-3899", "d-3899", at(0)) is None


@pytest.mark.usefixtures("few")
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 90)), max_size=600))
def test_it_remembers_what_a_plain_list_of_all_would(said: list[tuple[int, int]]) -> None:
    known, plain, second = Dedup(), dict[int, tuple[int, int]](), 0
    order: list[int] = []
    for offset, (id, later) in enumerate(said):
        second += later
        recent = set(order[-100:])
        expected = {
            each: found
            for each, found in plain.items()
            if second - found[1] <= 600 or (each in recent and second - found[1] <= 7 * 86_400)
        }
        found = known.find(f"c-{id}", "d", at(second))
        assert (found.offset if found else None) == (expected[id][0] if id in expected else None)
        if found is None:
            plain[id] = (offset, second)
            if id in order:
                order.remove(id)
            order.append(id)
        known.remember(f"c-{id}", "d", offset, at(second))


def test_one_takes_about_forty_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "NEWEST", 0)
    known = Dedup()
    tracemalloc.start()
    for number in range(20_000):
        known.remember(f"c-{number}", "d", number, START)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(known) == 20_000
    assert size <= 44 * 20_000


@pytest.mark.usefixtures("few")
def test_a_snapshot_has_all_of_it() -> None:
    known = after(1_000, 60)
    again = Dedup()
    again.restore(orjson.loads(orjson.dumps(known.newest())), known.hashed.packs())
    assert len(again) == 1_000
    for number in range(1_000):
        assert again.find(f"c-{number}", f"d-{number}", at(60)) == First(True, number)
    assert again.find("c-1000", "d", at(60)) is None
    after(500, 60, again, since=60)
    assert again.find("c-1", "d-1", at(120)) == First(True, 1)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("then", [Log.keep, Log.recover, Log.from_snapshot], ids=["live", "log", "snapshot"])
def test_a_partition_answers_a_late_repeat_with_its_first_outcome(then: object) -> None:
    log = Log()
    first = log.sent(submit("a"), "c-0", "lab/vision")
    for number in range(1, 300):
        log.sent(submit("a"), f"c-{number}", "lab/vision")
    assert callable(then)
    then(log)
    again = log.sent(submit("a"), "c-0", "lab/vision").data
    assert isinstance(again, CommandNoted)
    assert (again.repeat, again.first_offset) == (True, first.position.offset)
