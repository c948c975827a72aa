"""Judging canaries: the bounds against known values, what a judgement sees, and small seeded worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.deployments.canary import CanaryEvidence, CanaryMetric, CanaryPolicy, CanaryVerdict
from events.language.deployments.traffic import LatencySketch
from services.deployments.canary.blocks import Blocks
from services.deployments.canary.judging import judge, level_of, look_is_due
from services.deployments.canary.statistics import least_difference, least_mean, log_quantile, student, wilson
from tests.sim.canary import WORLDS, World, right, trial


def evidence(**fields: object) -> CanaryEvidence:
    return CanaryEvidence.model_validate(
        {
            "policy": CanaryPolicy(),
            "canary": 2,
            "baseline": 1,
            "step": 0,
            "look": 3,
            "elapsed_seconds": 60,
            "canary_requests": 200,
            "canary_failures": 0,
            "baseline_requests": 1800,
            "baseline_failures": 0,
        }
        | fields
    )


SLOW = [math.log(2) + 0.01 * (-1) ** number for number in range(10)]


def test_the_bounds_of_two_shares_are_newcombes() -> None:
    # Newcombe 1998, table II, 56/70 and 48/80 by method 10: 0.0524 to 0.3339, each with probability 2.5 %
    assert least_difference((56, 70), (48, 80), 0.025) == pytest.approx(0.0524, abs=5e-5)
    assert -least_difference((48, 80), (56, 70), 0.025) == pytest.approx(0.3339, abs=5e-5)
    assert wilson(0, 0, 0.01) == (0, 1)


@pytest.mark.parametrize(
    ("freedom", "level", "value"),
    # tables of Student's t
    [
        (2, 0.025, 4.302653),
        (3, 0.001, 10.21453),
        (5, 0.01, 3.364930),
        (9, 0.0005, 4.780913),
        (30, 0.05, 1.697261),
        (60, 0.4, 0.254473),
    ],
)
def test_quantiles_of_student(freedom: float, level: float, value: float) -> None:
    assert student(level, freedom) == pytest.approx(value, rel=2e-6)


def test_what_resembles_the_value_before_says_less() -> None:
    values = [0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 0.1]
    alternating, sorted_ = least_mean(values, 0.01), least_mean(sorted(values), 0.01)
    assert alternating is not None
    assert sorted_ is None or sorted_.effective < alternating.effective == 10
    assert sorted_ is None or sorted_.lower_bound < alternating.lower_bound


def test_too_few_values_have_no_bound() -> None:
    assert least_mean([1.0, 1.0], 0.01) is None
    same = least_mean([1.0, 1.0, 1.0], 0.01)
    assert same is not None
    assert same.lower_bound == 1.0


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_small_and_large_samples_have_the_same_quantile_on_average(share: float) -> None:
    random = np.random.default_rng(5)

    def mean(count: int) -> float:
        found = [
            log_quantile(LatencySketch.of_latencies(sample), share)
            for sample in np.exp(random.standard_normal((600, count)))
        ]
        return sum(found) / len(found)

    assert mean(20) == pytest.approx(mean(180), abs=0.08)


def test_a_block_ends_once_both_revisions_have_had_enough_requests() -> None:
    blocks = Blocks(CanaryPolicy(), CanaryMetric.MEDIAN)
    blocks.note(0, LatencySketch(), LatencySketch())
    baseline = LatencySketch.of_latencies([10.0] * 90)
    blocks.note(1, LatencySketch.of_latencies([20.0] * 9), baseline)
    assert blocks.ratios == []
    blocks.note(2, LatencySketch.of_latencies([20.0] * 10), baseline)
    assert blocks.ratios == [pytest.approx(math.log(2), abs=0.02)]
    # the next one is of what came since
    blocks.note(3, LatencySketch.of_latencies([20.0] * 10 + [10.0] * 10), LatencySketch.of_latencies([10.0] * 180))
    assert blocks.ratios[1:] == [0]


def test_a_step_has_no_more_blocks_than_a_judgement_can_hold() -> None:
    policy = CanaryPolicy(min_requests=100_000)
    blocks = Blocks(policy, CanaryMetric.P95)
    for second in range(200):
        sketch = LatencySketch.of({100: second * 1000}, 0)
        blocks.note(second / 100, sketch, sketch)
        if second * 1000 >= policy.min_requests:
            break
    assert len(blocks.ratios) <= 120


@pytest.mark.parametrize(
    ("looks", "seconds", "requests", "due"),
    [
        (0, 20, 67, True),
        (0, 19.9, 1000, False),
        (0, 1000, 66, False),
        (1, 40, 134, True),
        (2, 60, 200, True),
        (2, 60, 199, False),
    ],
)
def test_a_look_needs_a_third_of_the_seconds_and_of_the_requests(
    looks: int, seconds: float, requests: int, due: bool
) -> None:
    assert look_is_due(CanaryPolicy(), looks, seconds, requests) is due


def test_a_canary_like_the_baseline_goes_on_and_then_advances() -> None:
    assert judge(evidence(look=1)).verdict is CanaryVerdict.CONTINUE
    assert judge(evidence(look=2)).verdict is CanaryVerdict.CONTINUE
    assert judge(evidence(look=3)).verdict is CanaryVerdict.ADVANCE


def test_each_metric_sends_a_canary_back_at_any_look() -> None:
    assert judge(evidence(look=1, canary_failures=40)).exceeded == (CanaryMetric.FAILURES,)
    assert judge(evidence(look=1, median_ratios=SLOW)).exceeded == (CanaryMetric.MEDIAN,)
    found = judge(evidence(look=1, median_ratios=SLOW, p95_ratios=SLOW))
    assert found.exceeded == (CanaryMetric.MEDIAN, CanaryMetric.P95)
    assert found.verdict is CanaryVerdict.ROLL_BACK


def test_failures_that_the_baseline_has_too_are_no_fault_of_the_canary() -> None:
    assert judge(evidence(canary_failures=40, baseline_failures=360)).verdict is CanaryVerdict.ADVANCE


def test_a_policy_may_allow_more() -> None:
    patient = CanaryPolicy(max_slowdown=3, max_failure_increase=30)
    assert judge(evidence(policy=patient, canary_failures=40, median_ratios=SLOW)).verdict is CanaryVerdict.ADVANCE


def test_all_tests_of_a_rollout_share_the_probability_of_error() -> None:
    assert level_of(CanaryPolicy()) == pytest.approx(0.01 / (3 * 4 * 3))
    assert level_of(CanaryPolicy(steps=(50,), error_percent=9)) == pytest.approx(0.09 / 9)


COUNTS = st.integers(0, 5000)
RATIOS = st.lists(st.floats(-5, 5), max_size=40)


@given(COUNTS, COUNTS, st.floats(0, 1), st.floats(0, 1), RATIOS, RATIOS, st.integers(1, 3))
def test_a_judgement_comes_out_of_its_evidence_again(
    canary: int, baseline: int, bad: float, usual: float, medians: list[float], p95s: list[float], look: int
) -> None:
    found = judge(
        evidence(
            look=look,
            canary_requests=canary,
            canary_failures=int(bad * canary),
            baseline_requests=baseline,
            baseline_failures=int(usual * baseline),
            median_ratios=medians,
            p95_ratios=p95s,
        )
    )
    recorded = type(found).model_validate_json(found.to_json())
    assert recorded == found
    assert judge(recorded.evidence) == recorded
    assert (found.verdict is CanaryVerdict.ROLL_BACK) == bool(found.exceeded)
    for test in found.tests:
        assert test.lower_bound <= test.difference + 1e-9


@pytest.mark.parametrize("world", [world for world in WORLDS if not world.good], ids=lambda world: world.name)
def test_bad_canaries_are_sent_back(world: World) -> None:
    assert [right(world, trial(world, seed)) for seed in range(3)] == [True] * 3


@pytest.mark.parametrize(
    "world",
    [world for world in WORLDS if world.good and ("tails" in world.name or "spells in each" in world.name)],
    ids=lambda world: world.name,
)
def test_good_canaries_are_promoted(world: World) -> None:
    outcome = trial(world, 1)
    assert right(world, outcome)
    assert all(judge(judgement.evidence) == judgement for judgement in outcome.judgements)
