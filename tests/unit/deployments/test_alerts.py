"""Alerts window by window, and drift against the training data."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.deployments.alerts import AlertComparison, DeploymentAlert
from services.deployments.alerts.drift import LEAST_SHARE, bin_of, stability_index
from services.deployments.alerts.evaluating import AlertState, Turn, after_window, breached, breaches, finding


def alert(**fields: object) -> DeploymentAlert:
    return DeploymentAlert.model_validate({"name": "slow", "type": "latency", "threshold": 100.0} | fields)


def turns(subject: DeploymentAlert, *values: float | None) -> list[Turn]:
    state, found = AlertState(), []
    for value in values:
        state, turn = after_window(subject, state, value)
        found.append(turn)
    return found


NO, FIRED, RESOLVED = Turn.NONE, Turn.FIRED, Turn.RESOLVED


def test_an_alert_fires_once_and_is_over_once() -> None:
    assert turns(alert(), 50, 101, 150, 100, 90, 101) == [NO, FIRED, NO, RESOLVED, NO, FIRED]


def test_consecutive_windows_must_breach() -> None:
    assert turns(alert(consecutive=3), 101, 101, 99, 101, 101, 101, 101) == [NO, NO, NO, NO, NO, FIRED, NO]


def test_a_window_without_a_value_counts_neither_way() -> None:
    assert turns(alert(consecutive=2), 101, None, 101, None, 99) == [NO, NO, FIRED, NO, RESOLVED]


@pytest.mark.parametrize(
    ("comparison", "below", "at", "above"),
    [
        (AlertComparison.ABOVE, False, False, True),
        (AlertComparison.AT_LEAST, False, True, True),
        (AlertComparison.BELOW, True, False, False),
        (AlertComparison.AT_MOST, True, True, False),
    ],
)
def test_comparisons(comparison: AlertComparison, below: bool, at: bool, above: bool) -> None:
    subject = alert(comparison=comparison)
    assert [breaches(subject, value) for value in (99, 100, 101)] == [below, at, above]


@given(st.lists(st.one_of(st.none(), st.floats(0, 200)), max_size=40), st.integers(1, 5))
def test_what_an_alert_fired_on_says_so_again(values: list[float | None], consecutive: int) -> None:
    subject, state = alert(consecutive=consecutive), AlertState()
    for number, value in enumerate(values):
        before = state
        state, turn = after_window(subject, state, value)
        seen = [value for value in values[: number + 1] if value is not None]
        if turn is Turn.FIRED:
            found = finding(subject, state)
            assert breached(found.alert, found.windows)
            assert list(found.windows) == seen[-consecutive:]
        if not before.firing and value is not None:
            assert (turn is Turn.FIRED) == breached(subject, seen)


TENTHS = [0.1] * 10


def test_no_drift_where_the_shares_are_those_of_the_training_data() -> None:
    assert stability_index(TENTHS, [50] * 10) == 0


def test_drift_is_the_published_index() -> None:
    shifted = [200, 180, 140, 120, 100, 80, 60, 50, 40, 30]
    expected = sum((count / 1000 - 0.1) * math.log(count / 1000 / 0.1) for count in shifted)
    assert stability_index(TENTHS, shifted) == pytest.approx(expected)
    assert 0.2 < expected < 0.4


def test_an_empty_bin_is_much_and_not_infinite() -> None:
    index = stability_index([0.5, 0.5], [0, 500])
    assert index == pytest.approx((1 - 0.5) * math.log(2) + (LEAST_SHARE - 0.5) * math.log(LEAST_SHARE / 0.5))


def test_too_few_values_say_nothing() -> None:
    assert stability_index(TENTHS, [19] * 10) is None
    with pytest.raises(ValueError, match="10 bins are expected and 9 were counted"):
        stability_index(TENTHS, [100] * 9)


def test_bins_have_their_upper_bounds() -> None:
    assert [bin_of(value, (1.0, 2.0)) for value in (0.5, 1.0, 1.5, 2.0, 9.0)] == [0, 0, 1, 1, 2]
