"""Looks at a canary: is it worse than the baseline by more than its policy allows, with certainty? Pure.

A step of a rollout is looked at three times, when each third of its seconds and of its requests has passed. Each look
tests three metrics. All tests of a rollout together are wrong about a canary that is within its limits with at most the
policy's probability (Bonferroni): each has its share of it.
"""

from __future__ import annotations

import math

from events.language.deployments.canary import (
    LOOKS,
    CanaryEvidence,
    CanaryJudgement,
    CanaryMetric,
    CanaryPolicy,
    CanaryTest,
    CanaryVerdict,
)
from services.deployments.canary.statistics import least_difference, least_mean

DIGITS = 9
"""Decimals of recorded numbers."""


def look_is_due(policy: CanaryPolicy, looks: int, elapsed_seconds: float, requests: int) -> bool:
    """Whether the next look, after `looks` of this step, may be taken: its thirds of seconds and requests are over."""
    share = (looks + 1) / LOOKS
    return elapsed_seconds >= share * policy.interval_seconds and requests >= share * policy.min_requests


def judge(evidence: CanaryEvidence) -> CanaryJudgement:
    """The judgement of the evidence, always the same for the same evidence."""
    tests = tuple(test for metric in CanaryMetric if (test := _test(metric, evidence)) is not None)
    exceeded = tuple(test.metric for test in tests if test.lower_bound > test.limit)
    if exceeded:
        verdict = CanaryVerdict.ROLL_BACK
    else:
        verdict = CanaryVerdict.ADVANCE if evidence.look == LOOKS else CanaryVerdict.CONTINUE
    return CanaryJudgement(evidence=evidence, tests=tests, verdict=verdict, exceeded=exceeded)


def level_of(policy: CanaryPolicy) -> float:
    """The probability of error of one test."""
    return policy.error_percent / 100 / (LOOKS * len(policy.percentages) * len(CanaryMetric))


def _test(metric: CanaryMetric, evidence: CanaryEvidence) -> CanaryTest | None:
    """None if there is too little to test."""
    policy, level = evidence.policy, level_of(evidence.policy)
    if metric is CanaryMetric.FAILURES:
        canary = (evidence.canary_failures, evidence.canary_requests)
        baseline = (evidence.baseline_failures, evidence.baseline_requests)
        if not canary[1] or not baseline[1]:
            return None
        return CanaryTest(
            metric=metric,
            difference=round(100 * (canary[0] / canary[1] - baseline[0] / baseline[1]), DIGITS),
            lower_bound=round(100 * least_difference(canary, baseline, level), DIGITS),
            limit=policy.max_failure_increase,
            level=level,
        )
    ratios = evidence.median_ratios if metric is CanaryMetric.MEDIAN else evidence.p95_ratios
    least = least_mean(ratios, level)
    if least is None:
        return None
    return CanaryTest(
        metric=metric,
        difference=round(least.mean, DIGITS),
        lower_bound=round(least.lower_bound, DIGITS),
        limit=round(math.log(policy.max_slowdown), DIGITS),
        level=level,
        effective_blocks=round(least.effective, DIGITS),
    )
