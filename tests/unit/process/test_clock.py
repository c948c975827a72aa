"""A writer's clock advances steadily, even if the machine's clock is set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from events.process.clock import CATCH_UP, FALL_BACK, Clock

START = 1_790_000_000.0


class Machine:
    """Its clock can be set; its steady clock can't."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.set_by = 0.0
        self.clock = Clock(lambda: START + self.passed + self.set_by, lambda: 1000 + self.passed)

    def after(self, seconds: float) -> float:
        """What the clock shows then, in seconds since its start."""
        self.passed += seconds
        return self.clock.now().timestamp() - START


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 1e-3


def test_it_shows_the_machines_time() -> None:
    machine = Machine()
    assert near(machine.after(0), 0)
    assert near(machine.after(2.5), 2.5)


def test_small_corrections_are_followed_at_once_and_backwards_ones_without_going_back() -> None:
    machine = Machine()
    machine.set_by = 0.05
    assert near(machine.after(1), 1.05)
    machine.set_by = 0.0
    assert near(machine.after(0.1), 1.05 + 0.1 - 0.1 * FALL_BACK)
    for _ in range(10):
        shown = machine.after(1)
    assert near(shown, 11.1)


def test_a_leap_ahead_that_is_taken_back_costs_little() -> None:
    machine = Machine()
    machine.set_by = 86_400
    assert near(machine.after(1), 1 + CATCH_UP)
    assert near(machine.after(1), 2 + 2 * CATCH_UP)
    machine.set_by = 0
    assert machine.after(1) < 4.1


def test_a_leap_back_slows_it_and_never_stops_it() -> None:
    machine = Machine()
    machine.set_by = -86_400
    assert near(machine.after(10), 10 * (1 - FALL_BACK))


def test_a_wrong_time_at_the_start_is_made_good() -> None:
    machine = Machine()
    machine.set_by = 60  # the machine was a minute behind when we started, and is set right
    for _ in range(200):
        shown = machine.after(1)
    assert near(shown, 260)


def test_it_is_never_behind_an_event() -> None:
    machine = Machine()
    tomorrow = datetime.fromtimestamp(START, UTC) + timedelta(days=1)
    assert machine.clock.at_least(tomorrow) == tomorrow
    assert machine.after(1) >= 86_400.9 - FALL_BACK
    assert machine.clock.at_least(datetime.fromtimestamp(START, UTC)) > tomorrow


def test_it_tells_when_it_was_not_looked_at_or_leapt() -> None:
    machine = Machine()
    machine.after(1)
    assert not machine.clock.missed()
    machine.after(12)
    assert machine.clock.missed()
    assert not machine.clock.missed()
    machine.clock.at_least(datetime.fromtimestamp(START + 3600, UTC))
    assert machine.clock.missed()


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0, 100),
            st.floats(-1e6, 1e6) | st.just(0.0),
            st.floats(-1e5, 1e5),
        ),
        max_size=30,
    )
)
def test_it_never_goes_back_and_never_runs_wild(steps: list[tuple[float, float, float]]) -> None:
    machine = Machine()
    before = machine.after(0)
    for passed, set_by, event in steps:
        machine.set_by = set_by
        shown = machine.after(passed)
        assert before + passed * (1 - FALL_BACK) - 1e-3 <= shown <= before + passed * (1 + CATCH_UP) + 0.101
        before = machine.clock.at_least(datetime.fromtimestamp(START + event, UTC)).timestamp() - START
        assert before >= max(shown, event) - 1e-3
