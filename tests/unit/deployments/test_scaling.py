"""How many replicas: each rule by an example, and that a decision comes out of its inputs again."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.common import utc
from events.language.deployments.scaling import (
    AutoScalingPolicy,
    LoadForecast,
    MetricLoad,
    ScalingBehavior,
    ScalingDecision,
    ScalingInputs,
    ScalingLimit,
    ScalingMetric,
    ScalingReason,
    ScalingSchedule,
)
from services.deployments.scaling.deciding import decide
from services.deployments.scaling.forecasting import PERIOD, DayModel
from services.deployments.scaling.schedules import bounds_at, holds
from tests.sim import scaling as sim

RPS = {"metric": "rps", "value": 50}
NOON = datetime(2026, 3, 2, 12, tzinfo=ZoneInfo("UTC"))


def decided(
    policy: dict[str, Any] | None = None, *, rps: float | None = None, panic: float | None = None, **fields: Any
) -> ScalingDecision:
    """A decision in a calm moment, at 4 replicas of at most 20, but for what is said."""
    settings = {"max_replicas": 20, "targets": (RPS,)} | (policy or {})
    calm = {
        "at": NOON,
        "policy": settings,
        "replicas": 4,
        "ready": fields.get("replicas", 4),
        "watched_seconds": 600,
        "idle_seconds": 0,
    }
    if rps is not None or panic is not None:
        calm["loads"] = (MetricLoad(name="rps", stable=rps, panic=panic),)
    return decide(ScalingInputs.model_validate(calm | fields))


def told(decision: ScalingDecision) -> tuple[int, ScalingReason, ScalingLimit]:
    return decision.replicas, decision.reason, decision.limit


LOAD, PANIC, STEADY, NONE = ScalingReason.LOAD, ScalingReason.PANIC, ScalingReason.STEADY, ScalingLimit.NONE


def test_requests_per_second_ask_for_their_quotient_rounded_up() -> None:
    assert told(decided(rps=301)) == (7, LOAD, NONE)
    assert told(decided(rps=120)) == (3, LOAD, NONE)
    assert told(decided(rps=200)) == (4, STEADY, NONE)


def test_a_load_within_the_tolerance_changes_nothing() -> None:
    assert told(decided(rps=219)) == (4, LOAD, ScalingLimit.TOLERANCE)
    assert told(decided(rps=221)) == (5, LOAD, NONE)
    assert decided({"tolerance_percent": 0}, rps=201).replicas == 5


@pytest.mark.parametrize("metric", ["cpu", "memory", "gpu"])
def test_use_asks_for_the_ready_replicas_times_use_by_target(metric: str) -> None:
    policy = {"targets": ({"metric": metric, "value": 50},)}
    loads = (MetricLoad(name=metric, stable=80),)
    assert decided(policy, loads=loads).replicas == 7
    # two more start already: the need that the two ready ones show is answered
    assert told(decided(policy, loads=loads, ready=2, starting=2)) == (4, STEADY, NONE)


def test_latency_doubles_at_most_and_halves_at_most() -> None:
    policy = {"targets": ({"metric": "latency", "value": 100},)}
    assert decided(policy, loads=(MetricLoad(name="latency", stable=900),)).replicas == 8
    assert decided(policy, loads=(MetricLoad(name="latency", stable=150),)).replicas == 6
    assert decided(policy, loads=(MetricLoad(name="latency", stable=1),)).replicas == 2


def test_a_custom_metric_has_its_own_name() -> None:
    policy = {"targets": ({"metric": "custom", "custom": "queue_length", "value": 10},)}
    decision = decided(policy, loads=(MetricLoad(name="queue_length", stable=20),))
    assert (decision.replicas, decision.metric) == (8, "queue_length")


def test_the_most_demanding_metric_counts() -> None:
    policy = {"targets": (RPS, {"metric": "cpu", "value": 50})}
    loads = (MetricLoad(name="rps", stable=300), MetricLoad(name="cpu", stable=100))
    decision = decided(policy, loads=loads)
    assert (decision.replicas, decision.metric) == (8, "cpu")
    assert [(need.name, need.stable) for need in decision.needs] == [("rps", 6), ("cpu", 8)]


def test_a_panic_counts_the_short_window() -> None:
    assert told(decided(rps=200, panic=400)) == (8, PANIC, NONE)
    assert told(decided(rps=200, panic=390)) == (4, STEADY, NONE)  # not twice the ready ones


def test_nothing_is_taken_away_until_one_cool_down_after_a_panic() -> None:
    assert told(decided(rps=60, since_panic_seconds=59)) == (4, LOAD, ScalingLimit.PANIC)
    assert told(decided(rps=60, since_panic_seconds=60)) == (2, LOAD, NONE)
    assert decided(rps=60, panic=450).replicas == 9


def test_cool_downs() -> None:
    assert told(decided(rps=60, since_down_seconds=59)) == (4, LOAD, ScalingLimit.COOLDOWN)
    assert told(decided(rps=60, since_up_seconds=59)) == (4, LOAD, ScalingLimit.COOLDOWN)
    assert decided(rps=60, since_down_seconds=60, since_up_seconds=60).replicas == 2
    slow = {"up": ScalingBehavior(cooldown_seconds=30)}
    assert told(decided(slow, rps=500, since_up_seconds=29)) == (4, LOAD, ScalingLimit.COOLDOWN)
    assert decided(slow, rps=500, since_up_seconds=30, since_down_seconds=0).replicas == 10


def test_steps() -> None:
    policy = {"up": ScalingBehavior(step_replicas=2), "down": ScalingBehavior(step_percent=25)}
    assert told(decided(policy, rps=500)) == (6, LOAD, ScalingLimit.STEP)
    assert told(decided(policy, rps=10)) == (3, LOAD, ScalingLimit.STEP)
    assert decided({"up": ScalingBehavior(step_replicas=1, step_percent=100)}, rps=900).replicas == 8
    assert decided({"down": ScalingBehavior(step_percent=1)}, rps=10).replicas == 3


def test_bounds_hold_at_once() -> None:
    assert told(decided(rps=9000)) == (20, ScalingReason.MAXIMUM, ScalingLimit.MAXIMUM)
    policy = {"min_replicas": 6, "up": ScalingBehavior(step_replicas=1, cooldown_seconds=600)}
    assert decided(policy, rps=10, since_up_seconds=1).replicas == 6
    assert decided({"max_replicas": 2}, rps=900, since_down_seconds=1).replicas == 2
    assert decided({"max_replicas": 2}, since_panic_seconds=1, rps=900).replicas == 2


def test_nothing_is_taken_away_while_a_metric_is_not_known() -> None:
    two = {"targets": (RPS, {"metric": "cpu", "value": 50})}
    rps = (MetricLoad(name="rps", stable=60),)
    assert told(decided(two, loads=rps)) == (4, LOAD, ScalingLimit.UNKNOWN)
    assert decided(two, loads=(MetricLoad(name="rps", stable=400),)).replicas == 8
    assert told(decided(rps=60, watched_seconds=59)) == (4, LOAD, ScalingLimit.UNKNOWN)
    assert told(decided()) == (4, STEADY, NONE)


def test_the_last_replica_goes_after_the_idle_time() -> None:
    zero = {"min_replicas": 0, "idle_seconds": 300}
    assert told(decided(zero, rps=0, replicas=1, idle_seconds=299)) == (1, LOAD, ScalingLimit.NOT_IDLE)
    assert told(decided(zero, rps=0, replicas=1, idle_seconds=300)) == (0, ScalingReason.IDLE, NONE)
    assert told(decided(zero, rps=0, replicas=1, idle_seconds=None)) == (1, LOAD, ScalingLimit.UNKNOWN)
    assert decided(rps=0, replicas=1, idle_seconds=9000).replicas == 1
    # processors are never quite idle
    by_use = zero | {"targets": ({"metric": "cpu", "value": 50},)}
    assert decided(by_use, loads=(MetricLoad(name="cpu", stable=2),), replicas=2, idle_seconds=300).replicas == 0


def test_requests_that_wait_start_the_first_replica_once() -> None:
    zero = {"min_replicas": 0, "idle_seconds": 300}
    assert told(decided(zero, rps=0, replicas=0, held=200)) == (1, ScalingReason.DEMAND, NONE)
    assert told(decided(zero, rps=0, replicas=1, ready=0, starting=1, held=200)) == (1, STEADY, NONE)
    assert told(decided(zero, rps=0, replicas=0, idle_seconds=400)) == (0, STEADY, NONE)


def test_schedules_change_the_bounds() -> None:
    day = {
        "name": "day",
        "cron": "0 8 * * MON-FRI",
        "zone": "Europe/Berlin",
        "duration_seconds": 36_000,
        "min_replicas": 6,
    }
    decision = decided({"schedules": (day,)}, rps=10)
    assert (decision.replicas, decision.reason, decision.schedule) == (6, ScalingReason.MINIMUM, "day")
    assert decided({"schedules": (day,)}, rps=10, at=NOON + timedelta(days=5)).replicas == 1
    quiet = {"name": "quiet", "cron": "0 12 * * *", "duration_seconds": 60, "max_replicas": 2, "min_replicas": 0}
    assert bounds_at(AutoScalingPolicy(max_replicas=9, schedules=(day, quiet)), NOON) == (0, 2, "quiet")
    assert bounds_at(AutoScalingPolicy(max_replicas=9, schedules=(quiet, day)), NOON) == (6, 9, "day")


@pytest.mark.parametrize(
    ("time", "held"),
    [
        ("2026-03-02T07:59:59.999+01:00", False),
        ("2026-03-02T08:00:00+01:00", True),
        ("2026-03-02T09:59:59.999+01:00", True),
        ("2026-03-02T10:00:00+01:00", False),
        ("2026-07-01T08:00:00+02:00", True),  # the zone's own summer time
        ("2026-07-01T07:30:00+02:00", False),
    ],
)
def test_a_schedule_holds_from_its_begin_for_its_duration(time: str, held: bool) -> None:
    schedule = ScalingSchedule(name="a", cron="0 8 * * *", zone="Europe/Berlin", duration_seconds=7200, min_replicas=1)
    assert holds(schedule, datetime.fromisoformat(time)) is held


def test_a_begin_that_the_clocks_leave_out_is_the_next_time_that_exists() -> None:
    schedule = ScalingSchedule(name="a", cron="30 2 * * *", zone="Europe/Berlin", duration_seconds=60, min_replicas=1)
    assert holds(schedule, datetime.fromisoformat("2026-03-29T03:00:30+02:00"))


FORECAST = LoadForecast(rps=440, error_percent=12)
AHEAD = {"predictive": {"max_error_percent": 30}}


def test_a_forecast_raises_the_floor_only() -> None:
    decision = decided(AHEAD, rps=200, forecast=FORECAST)
    assert (told(decision), decision.forecast_replicas) == ((8, ScalingReason.FORECAST, NONE), 8)
    assert decided(AHEAD, rps=500, forecast=FORECAST).replicas == 10
    assert decided(AHEAD, rps=200, forecast=LoadForecast(rps=10, error_percent=12)).replicas == 4


@pytest.mark.parametrize("error", [None, 30.1])
def test_a_forecast_is_left_aside_while_yesterdays_were_wrong(error: float | None) -> None:
    decision = decided(AHEAD, rps=200, forecast=LoadForecast(rps=440, error_percent=error))
    assert (decision.replicas, decision.forecast_replicas) == (4, 0)


VALUES = st.one_of(st.none(), st.floats(0, 5000))
SECONDS = st.one_of(st.none(), st.floats(0, 200))


@given(
    st.sampled_from([1, 20, 1000]),
    st.integers(0, 1),
    st.lists(st.sampled_from(list(ScalingMetric)), unique=True, max_size=4),
    st.integers(0, 30),
    st.integers(0, 30),
    st.lists(st.tuples(VALUES, VALUES), min_size=4, max_size=4),
    st.tuples(SECONDS, SECONDS, SECONDS, SECONDS),
    st.integers(0, 3),
    st.tuples(st.integers(0, 3), st.floats(0, 100)),
)
def test_a_decision_comes_out_of_its_inputs_again_and_keeps_the_bounds(
    high: int,
    low: int,
    metrics: list[ScalingMetric],
    replicas: int,
    ready: int,
    values: list[tuple[float | None, float | None]],
    times: tuple[float | None, ...],
    held: int,
    step: tuple[int, float],
) -> None:
    targets = [
        {"metric": metric, "value": 50, "custom": "x" if metric is ScalingMetric.CUSTOM else ""} for metric in metrics
    ]
    behavior = ScalingBehavior(cooldown_seconds=60, step_replicas=step[0], step_percent=step[1])
    decision = decided(
        {
            "min_replicas": low,
            "max_replicas": high,
            "targets": targets,
            "up": behavior,
            "down": behavior,
            "idle_seconds": 60,
        },
        replicas=replicas,
        ready=ready,
        loads=[
            MetricLoad(name="x" if metric is ScalingMetric.CUSTOM else str(metric), stable=stable, panic=panic)
            for metric, (stable, panic) in zip(metrics, values, strict=False)
        ],
        since_up_seconds=times[0],
        since_down_seconds=times[1],
        since_panic_seconds=times[2],
        idle_seconds=times[3],
        held=held,
    )
    recorded = ScalingDecision.model_validate_json(decision.to_json())
    assert recorded == decision
    assert decide(recorded.inputs) == recorded
    assert decision.low <= decision.replicas <= decision.high
    if decision.panicking:
        assert decision.replicas >= min(replicas, high)
    if decision.replicas != replicas:
        assert decision.reason is not ScalingReason.STEADY


def day(minute: int) -> float:
    return 100 + 80 * math.sin(2 * math.pi * minute / PERIOD)


def test_a_day_that_repeats_is_forecast() -> None:
    model = DayModel()
    for minute in range(2 * PERIOD + 100):
        model.fold(minute, day(minute))
    forecast = model.forecast(2 * PERIOD + 103, 2 * PERIOD + 106, 0.9)
    assert forecast is not None
    assert forecast.rps == pytest.approx(max(day(minute) for minute in range(103, 107)), rel=0.01)
    assert forecast.error_percent is not None
    assert forecast.error_percent < 1


def test_there_is_no_forecast_before_a_day_and_no_error_before_two() -> None:
    model = DayModel()
    for minute in range(PERIOD - 1):
        model.fold(minute, day(minute))
    assert model.forecast(PERIOD, PERIOD, 0.9) is None
    model.fold(PERIOD - 1, day(PERIOD - 1))
    forecast = model.forecast(PERIOD, PERIOD, 0.9)
    assert forecast is not None
    assert forecast.error_percent is None


def test_a_load_without_a_pattern_has_a_large_error() -> None:
    model = DayModel()
    for minute in range(3 * PERIOD):
        model.fold(minute, 1000.0 if (minute * 7919) % 1013 < 100 else 1.0)
    error = model.error_percent()
    assert error is not None
    assert error > 30


def test_minutes_may_be_missing_or_repeated() -> None:
    model, other = DayModel(), DayModel()
    for minute in range(2 * PERIOD):
        if minute % 7:
            model.fold(minute, day(minute))
            other.fold(minute, day(minute))
            other.fold(minute, 12345.0)
            other.fold(minute - 1, 12345.0)
    assert model == other
    forecast = model.forecast(2 * PERIOD + 3, 2 * PERIOD + 3, 0.5)
    assert forecast is not None
    assert forecast.rps == pytest.approx(day(3), rel=0.05)


def test_in_a_morning_predictive_scaling_is_at_least_as_good_as_reactive_scaling() -> None:
    loads = sim.wave(sim.np.random.default_rng(0), 3)
    begin = 2 * sim.DAY + 7 * 3600 + 2400
    model = sim.trained(loads[:begin])
    results = {}
    for name, predictive in (("reactive", False), ("predictive", True)):
        scaler = sim.ours(sim.policy_of(predictive), model if predictive else None, begin // 60)
        results[name] = sim.simulate(loads[begin : begin + 3000], scaler, 1, sim.np.random.default_rng(1))
    assert results["predictive"].in_time >= results["reactive"].in_time + 1
    for result in results.values():
        assert result.decisions
        assert all(decide(decision.inputs) == decision for decision in result.decisions)


def test_the_time_of_a_decision_is_told_in_any_zone() -> None:
    decision = decided(rps=300, at=utc(0).astimezone(ZoneInfo("Asia/Tokyo")))
    recorded = ScalingDecision.model_validate_json(decision.to_json())
    assert decide(recorded.inputs) == recorded
