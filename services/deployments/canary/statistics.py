"""Bounds of differences, one-sided: what is at least so, but for a small probability.

Pure. Sources: Newcombe, Interval estimation for the difference between independent proportions (Statistics in Medicine
17, 1998), method 10; Hill, Algorithm 396: Student's t-quantiles (CACM 13, 1970); Blom, Statistical estimates and
transformed beta-variables (1958), for the ranks of quantiles in small samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from events.language.deployments.traffic import LatencySketch, latency_of

MOST_CORRELATION = 0.95
"""Of successive blocks: with more there is nothing to conclude, and the estimate is no better than this."""

FEWEST_EFFECTIVE = 3.0
"""Independent values below which a mean has no bound."""


def wilson(successes: int, trials: int, level: float) -> tuple[float, float]:
    """Wilson's bounds of a share: each is passed with the probability `level`."""
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - level)
    share, square = successes / trials, z * z / trials
    center = share + square / 2
    spread = z * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    return max(0.0, (center - spread) / (1 + square)), min(1.0, (center + spread) / (1 + square))


def least_difference(more: tuple[int, int], less: tuple[int, int], level: float) -> float:
    """The lower bound of a difference of two shares, each as (successes, trials), by Newcombe from Wilson's bounds."""
    shares = [successes / trials if trials else 0.0 for successes, trials in (more, less)]
    low, _ = wilson(*more, level)
    _, high = wilson(*less, level)
    return shares[0] - shares[1] - math.hypot(shares[0] - low, high - shares[1])


def student(level: float, freedom: float) -> float:
    """The value that Student's t with `freedom` (at least 2, not only whole) exceeds with probability `level`, at most
    0.5. Hill's algorithm."""
    both = 2 * level
    if freedom == 2:
        return math.sqrt(2 / (both * (2 - both)) - 2)
    n = freedom
    a = 1 / (n - 0.5)
    b = 48 / (a * a)
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * both) ** (2 / n)
    if y <= 0.05 + a:
        inner = 1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)
        return math.sqrt(n * ((inner * y - 1) * (n + 1) / (n + 2) + 1 / y))
    x = NormalDist().inv_cdf(both / 2)
    y = x * x
    if n < 5:
        c += 0.3 * (n - 4.5) * (x + 0.6)
    c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
    y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
    return math.sqrt(n * math.expm1(a * y * y))


@dataclass(frozen=True, slots=True)
class LeastMean:
    """A mean of successive values, and what it is at least."""

    mean: float
    lower_bound: float
    effective: float
    """Independent values that say as much."""


def least_mean(values: Sequence[float], level: float) -> LeastMean | None:
    """The lower bound of the mean of successive values, by Student's t.

    Values that resemble the ones before them say less than independent ones: with correlation r (AR(1)) n of them are
    worth n(1−r)/(1+r). None if they are too few for a bound.
    """
    count = len(values)
    if count < FEWEST_EFFECTIVE:
        return None
    mean = math.fsum(values) / count
    deviations = [value - mean for value in values]
    squares = math.fsum(deviation * deviation for deviation in deviations)
    correlation = 0.0
    if squares > 0:
        products = math.fsum(a * b for a, b in pairwise(deviations))
        correlation = min(max(products / squares, 0.0), MOST_CORRELATION)
    effective = count * (1 - correlation) / (1 + correlation)
    if effective < FEWEST_EFFECTIVE:
        return None
    error = math.sqrt(squares / (count - 1) / effective)
    return LeastMean(mean, mean - student(level, effective - 1) * error, effective)


def log_quantile(sketch: LatencySketch, share: float) -> float:
    """The natural logarithm of a quantile of latency in milliseconds, without bias by the number of requests.

    The rank is Blom's, share × (n + 1/4) + 3/8, between two requests in proportion: samples of 20 and of 200 requests
    then give the same on average, if logarithms of latencies are about normal. The sketch must not be empty.
    """
    count = sketch.count
    rank = min(max(share * (count + 0.25) + 0.375, 1.0), float(count))
    lower = math.floor(rank)
    part = rank - lower
    first = math.log(_nth(sketch, lower))
    return first if part == 0 else first + part * (math.log(_nth(sketch, lower + 1)) - first)


def _nth(sketch: LatencySketch, number: int) -> float:
    """The latency of the request that is the `number`-th fastest, from 1."""
    for index, count in zip(sketch.bins, sketch.counts, strict=True):
        number -= count
        if number <= 0:
            return latency_of(index)
    raise ValueError("the sketch has fewer requests")
