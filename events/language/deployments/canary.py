"""How a canary is judged: the policy, the evidence that a judgement sees, and the judgement with all its numbers."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from events.language.base import Model
from events.language.deployments.routing import RevisionNumber
from events.language.deployments.traffic import Count

DEFAULT_STEPS = (10, 25, 50, 75)

LOOKS = 3
"""Looks at an interval: after each third of its seconds and requests."""

Percent = Annotated[int, Field(ge=1, le=99)]


class CanaryPolicy(Model):
    """How much traffic a new revision gets step by step, and what sends it back.

    An interval ends once its seconds have passed *and* the canary has had its requests: without traffic it waits.
    """

    steps: tuple[Percent, ...] = Field(default=(), max_length=20)
    """Percent of the traffic that the canary gets, ascending; 10, 25, 50, 75 when empty. All follows the last one."""
    interval_seconds: float = Field(default=60.0, ge=3, le=604_800)
    """Least seconds of a step."""
    min_requests: int = Field(default=200, ge=60, le=1_000_000)
    """Requests that the canary must have had in a step."""
    max_failure_increase: float = Field(default=1.0, ge=0, le=100)
    """Percentage points by which more of the canary's requests may fail than of the baseline's."""
    max_slowdown: float = Field(default=1.25, ge=1, le=100)
    """How many times as slow as the baseline the canary may be, in its median and its 95th percentile."""
    error_percent: float = Field(default=1.0, ge=0.001, le=10)
    """Most probability, of a whole rollout, that a canary within these limits is sent back."""

    @model_validator(mode="after")
    def _steps_ascend(self) -> CanaryPolicy:
        if any(left >= right for left, right in pairwise(self.steps)):
            raise ValueError("steps is not ascending; give percentages that grow, such as 10, 25, 50, 75")
        return self

    @property
    def percentages(self) -> tuple[int, ...]:
        """The steps, also where none are written."""
        return self.steps or DEFAULT_STEPS


class CanaryMetric(StrEnum):
    """In what a canary is compared with the baseline."""

    FAILURES = "failures"
    """The share of failed requests."""
    MEDIAN = "median"
    """The 50th percentile of latency."""
    P95 = "p95"
    """The 95th percentile of latency."""


class CanaryEvidence(Model):
    """What a judgement sees: the traffic of both revisions in one step so far, over the same time."""

    policy: CanaryPolicy
    canary: RevisionNumber
    baseline: RevisionNumber
    step: int = Field(ge=0, le=19)
    """Place of the step in the policy's steps; the first is 0."""
    look: int = Field(ge=1, le=LOOKS)
    """Which third of the step has passed."""
    elapsed_seconds: float = Field(ge=0, le=1e10)
    canary_requests: Count
    canary_failures: Count
    baseline_requests: Count
    baseline_failures: Count
    median_ratios: tuple[float, ...] = Field(default=(), max_length=1000)
    """Natural logarithms of canary's median latency ÷ the baseline's, one for each block of the same seconds."""
    p95_ratios: tuple[float, ...] = Field(default=(), max_length=1000)
    """The same of the 95th percentile."""


class CanaryTest(Model):
    """How far one metric is above its limit, with certainty."""

    metric: CanaryMetric
    difference: float
    """Canary minus baseline: percentage points of failures, or the mean logarithm of latency ratios."""
    lower_bound: float
    """The difference is at least this, but for the probability `level`."""
    limit: float
    """What the policy allows, in the same unit. Above it the canary goes back."""
    level: float = Field(ge=0, le=1)
    """Probability of error of this one test: the policy's, divided by all tests of the rollout (Bonferroni)."""
    effective_blocks: float = Field(default=0.0, ge=0)
    """Blocks of latency, less what successive ones say again (autocorrelation of first order)."""


class CanaryVerdict(StrEnum):
    """What a judgement leads to."""

    CONTINUE = "continue"
    """The step goes on: not all its thirds have passed."""
    ADVANCE = "advance"
    """The next step begins, or after the last one the canary gets all traffic."""
    ROLL_BACK = "roll_back"
    """The baseline gets all traffic again."""


class CanaryJudgement(Model):
    """A look at a canary. `judge` of the same evidence gives the same judgement."""

    evidence: CanaryEvidence
    tests: tuple[CanaryTest, ...] = Field(max_length=3)
    verdict: CanaryVerdict
    exceeded: tuple[CanaryMetric, ...] = Field(default=(), max_length=3)
    """The metrics for which the canary goes back."""
