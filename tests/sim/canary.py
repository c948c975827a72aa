"""Rollouts by canary in simulated worlds: are good revisions promoted, and bad ones sent back, and how soon?

python -m tests.sim.canary --trials 100

Each trial has its own seed and its own load between 5 and 300 requests per second. Exit status 1 if a world does not
come out as it must.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from events.language.deployments.canary import (
    CanaryEvidence,
    CanaryJudgement,
    CanaryMetric,
    CanaryPolicy,
    CanaryVerdict,
)
from events.language.deployments.traffic import LEAST_BIN, MOST_BIN, LatencySketch
from services.deployments.canary.blocks import Blocks
from services.deployments.canary.judging import judge, look_is_due

Floats = NDArray[np.float64]
Latencies = Callable[[np.random.Generator, int], Floats]
"""That many latencies, in milliseconds."""

MOST_SECONDS = 20_000


def lognormal(median: float, spread: float) -> Latencies:
    """Most services: a body and a moderate tail."""
    return lambda random, count: median * np.exp(spread * random.standard_normal(count))


def pareto(least: float, exponent: float) -> Latencies:
    """Heavy tails: with exponent 1.5 the variance is infinite."""
    return lambda random, count: least * (1 + random.pareto(exponent, count))


def two_kinds(fast: float, slow: float, share: float) -> Latencies:
    """Cheap requests, and a share of dear ones."""

    def draw(random: np.random.Generator, count: int) -> Floats:
        kinds = random.random(count) < share
        values: Floats = np.where(kinds, slow, fast) * np.exp(0.2 * random.standard_normal(count))
        return values

    return draw


@dataclass(frozen=True)
class World:
    """A baseline, and a canary that differs from it in a way."""

    name: str
    good: bool
    latencies: Latencies = field(default_factory=lambda: lognormal(20, 0.4))
    baseline_failures: float = 0.0
    canary_failures: float = 0.0
    slowdown: float = 1.0
    waves: float = 0.0
    """Spread of what slows both down alike, from second to second with correlation 0.9."""
    own_waves: float = 0.0
    """The same of each revision by itself."""


WORLDS = (
    World("equal", good=True),
    World("equal, 2 % fail in both", good=True, baseline_failures=0.02, canary_failures=0.02),
    World("equal, heavy tails", good=True, latencies=pareto(10, 1.5)),
    World("equal, wide lognormal", good=True, latencies=lognormal(20, 1.0)),
    World("equal, two kinds of requests", good=True, latencies=two_kinds(10, 200, 0.06)),
    World("equal, slow spells in both", good=True, waves=0.3),
    World("equal, slow spells in each", good=True, own_waves=0.05),
    World("half a point more failures", good=True, baseline_failures=0.005, canary_failures=0.01),
    World("1.1 times as slow", good=True, slowdown=1.1),
    World("20 % fail", good=False, canary_failures=0.2),
    World("20 % fail, heavy tails", good=False, latencies=pareto(10, 1.5), canary_failures=0.2),
    World("twice as slow", good=False, slowdown=2.0),
    World("twice as slow, heavy tails", good=False, latencies=pareto(10, 1.5), slowdown=2.0),
    World("twice as slow, slow spells in both", good=False, slowdown=2.0, waves=0.3),
)


@dataclass(frozen=True)
class Outcome:
    promoted: bool
    steps: int
    """Steps that were begun."""
    seconds: int
    judgements: tuple[CanaryJudgement, ...]


@dataclass
class _Side:
    """One revision's cumulative counts."""

    requests: int = 0
    failures: int = 0
    bins: Counter[int] = field(default_factory=Counter)
    microseconds: int = 0
    wave: float = 0.0

    def serve(self, random: np.random.Generator, requests: int, failing: float, latencies: Floats) -> None:
        failed = int(random.binomial(requests, failing))
        answered = latencies[: requests - failed]
        self.requests += requests
        self.failures += failed
        self.microseconds += int(answered.sum() * 1000)
        indexes, counts = np.unique(_bins(answered), return_counts=True)
        self.bins.update(dict(zip(indexes.tolist(), counts.tolist(), strict=True)))

    def sketch(self) -> LatencySketch:
        return LatencySketch.of(self.bins, self.microseconds)


def _bins(latencies: Floats) -> NDArray[np.int64]:
    """`bin_of` of each."""
    wide = np.ceil(np.log(np.maximum(latencies, 1e-9)) / math.log(1.01 / 0.99)).astype(np.int64)
    return np.clip(wide, LEAST_BIN, MOST_BIN)


def trial(world: World, seed: int, policy: CanaryPolicy | None = None) -> Outcome:
    """One rollout, second by second, by the decisions that the platform takes."""
    policy = policy or CanaryPolicy()
    random = np.random.default_rng([seed, *world.name.encode()])
    rate = math.exp(random.uniform(math.log(5), math.log(300)))
    canary, baseline = _Side(), _Side()
    wave, now = 0.0, 0
    judgements: list[CanaryJudgement] = []
    for step, percent in enumerate(policy.percentages):
        began, looks = now, 0
        first = [(side.requests, side.failures) for side in (canary, baseline)]
        blocks = [Blocks(policy, metric) for metric in (CanaryMetric.MEDIAN, CanaryMetric.P95)]
        sketches = canary.sketch(), baseline.sketch()
        for block in blocks:
            block.note(now, *sketches)
        while True:
            now += 1
            wave = 0.9 * wave + math.sqrt(1 - 0.81) * random.standard_normal()
            for side, share, slow, failing in (
                (canary, percent / 100, world.slowdown, world.canary_failures),
                (baseline, 1 - percent / 100, 1.0, world.baseline_failures),
            ):
                side.wave = 0.9 * side.wave + math.sqrt(1 - 0.81) * random.standard_normal()
                requests = int(random.poisson(rate * share))
                factor = slow * math.exp(world.waves * wave + world.own_waves * side.wave)
                side.serve(random, requests, failing, factor * world.latencies(random, requests))
            sketches = canary.sketch(), baseline.sketch()
            for block in blocks:
                block.note(now, *sketches)
            if not look_is_due(policy, looks, now - began, canary.requests - first[0][0]):
                if now > MOST_SECONDS:
                    raise AssertionError(f"{world.name}, seed {seed}: no look for {MOST_SECONDS} seconds")
                continue
            looks += 1
            judgement = judge(
                CanaryEvidence(
                    policy=policy,
                    canary=2,
                    baseline=1,
                    step=step,
                    look=looks,
                    elapsed_seconds=now - began,
                    canary_requests=canary.requests - first[0][0],
                    canary_failures=canary.failures - first[0][1],
                    baseline_requests=baseline.requests - first[1][0],
                    baseline_failures=baseline.failures - first[1][1],
                    median_ratios=tuple(blocks[0].ratios),
                    p95_ratios=tuple(blocks[1].ratios),
                )
            )
            judgements.append(judgement)
            if judgement.verdict is CanaryVerdict.ROLL_BACK:
                return Outcome(False, step + 1, now, tuple(judgements))
            if judgement.verdict is CanaryVerdict.ADVANCE:
                break
    return Outcome(True, len(policy.percentages), now, tuple(judgements))


def right(world: World, outcome: Outcome) -> bool:
    """A good canary is promoted, a bad one is sent back within three steps."""
    return outcome.promoted if world.good else not outcome.promoted and outcome.steps <= 3


def report(trials: int, worlds: tuple[World, ...] = WORLDS) -> Iterator[tuple[World, int, str]]:
    """For each world: how many trials came out right, and a line about them."""
    for world in worlds:
        outcomes = [trial(world, seed) for seed in range(trials)]
        good = sum(right(world, outcome) for outcome in outcomes)
        steps = Counter(outcome.steps for outcome in outcomes if not outcome.promoted)
        seconds = sorted(outcome.seconds for outcome in outcomes)[trials // 2]
        sent_back = ", ".join(f"{count} in step {step}" for step, count in sorted(steps.items())) or "none"
        wish = "promoted" if world.good else "sent back within 3 steps"
        yield world, good, f"{world.name}: {good} of {trials} {wish}; sent back: {sent_back}; median {seconds} s"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.canary", description=__doc__)
    parser.add_argument("--trials", type=int, default=100, help="trials of each world")
    options = parser.parse_args()
    wrong = 0
    for _, good, line in report(options.trials):
        print(line, flush=True)
        wrong += options.trials - good
    print(f"{wrong} trials came out wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
