"""Given when the broker answered, then a partition's timers wait while nothing is heard, and begin anew after that."""

from __future__ import annotations

from events.writer.hearing import DEAF_AFTER, Hearing


def test_a_partition_that_is_answered_hears() -> None:
    hearing = Hearing()
    for second in range(60):
        assert hearing.note({0: second // 3}, float(second)) == []
        assert hearing.deaf == set()


def test_one_that_is_not_answered_is_deaf_until_it_is() -> None:
    hearing = Hearing()
    assert hearing.note({0: 7, 1: 7}, 0.0) == []
    assert hearing.note({0: 7, 1: 8}, DEAF_AFTER + 1) == [1]
    assert hearing.deaf == {0}
    assert hearing.note({0: 7, 1: 9}, 60.0) == [1]
    assert hearing.note({0: 8, 1: 10}, 61.0) == [0]
    assert hearing.deaf == set()
    assert hearing.note({0: 9, 1: 11}, 62.0) == []


def test_before_the_first_answer_it_waits_as_long() -> None:
    hearing = Hearing()
    assert hearing.note({0: None}, 0.0) == []
    assert hearing.note({0: None}, DEAF_AFTER) == []
    assert hearing.deaf == set()
    assert hearing.note({0: None}, DEAF_AFTER + 1) == []
    assert hearing.deaf == {0}
    assert hearing.note({0: 1}, DEAF_AFTER + 2) == [0]


def test_one_that_looked_at_nothing_for_long_begins_anew() -> None:
    """The writer itself waited for the broker, and both answers came at once."""
    hearing = Hearing()
    hearing.note({0: 1}, 0.0)
    assert hearing.note({0: 2}, 60.0) == [0]


def test_one_that_was_given_up_and_comes_back_is_new() -> None:
    hearing = Hearing()
    hearing.note({0: 1}, 0.0)
    hearing.note({0: 1}, 60.0)
    assert hearing.deaf == {0}
    assert hearing.note({}, 61.0) == []
    assert hearing.deaf == set()
    assert hearing.note({0: 1}, 120.0) == []
    assert hearing.deaf == set()
