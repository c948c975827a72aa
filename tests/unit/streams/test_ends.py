"""Given the ends of partitions, and what is done of each, then it is known up to which time each is done."""

from __future__ import annotations

import math

from events.streams.ends import DoneTo


def test_a_partition_is_done_up_to_the_time_at_which_the_end_that_it_reaches_was_asked_for() -> None:
    done = DoneTo()
    assert done.to_ask({0: 5.0, 1: 5.0}) == {0, 1}
    done.heard({0: 10, 1: 20}, 5.0)
    assert done.to_ask({0: 6.0, 1: 6.0}) == set()
    assert not done.reach(0, 9)
    assert done.reach(0, 10)
    assert (done.time(0), done.time(1)) == (5.0, -math.inf)


def test_a_partition_that_is_not_done_keeps_no_other_from_it() -> None:
    done = DoneTo()
    done.heard({0: 10, 1: 10}, 1.0)
    assert done.reach(0, 10)
    assert not done.reach(1, 5)
    assert done.to_ask({0: 2.0, 1: 2.0}) == {0}
    done.heard({0: 11}, 2.0)
    assert done.reach(0, 11)
    assert (done.time(0), list(done.open)) == (2.0, [1])


def test_a_partition_that_grows_faster_than_it_is_stored_gets_to_the_end_that_was_asked_for_first() -> None:
    done = DoneTo()
    done.heard({0: 10}, 1.0)
    done.heard({0: 99}, 2.0)
    assert done.reach(0, 12)
    assert done.time(0) == 1.0
    assert done.to_ask({0: 2.0}) == {0}


def test_of_a_partition_that_stands_still_nothing_is_known() -> None:
    done = DoneTo()
    done.heard({0: 10}, 1.0)
    done.reach(0, 10)
    done.heard({0: 12}, 2.0)
    done.forget(0)
    assert not done.reach(0, 12)
    assert (done.time(0), done.to_ask({0: 0.0})) == (-math.inf, {0})
