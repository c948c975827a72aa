"""Latencies of two revisions, compared in blocks of the same seconds.

What slows all replicas down (a busy machine, a burst) is in both halves of a block and cancels out. A block ends when
both revisions have had enough requests for the quantile. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from events.language.deployments.canary import CanaryMetric, CanaryPolicy
from events.language.deployments.traffic import LatencySketch
from services.deployments.canary.statistics import log_quantile

QUANTILES = {CanaryMetric.MEDIAN: 0.5, CanaryMetric.P95: 0.95}

FEWEST = {CanaryMetric.MEDIAN: 10, CanaryMetric.P95: 20}
"""Requests of each revision in a block: with fewer a sample has no such quantile."""

MOST_BLOCKS = 60
"""A step of its least length has no more: blocks last a sixtieth of it or longer."""

_EMPTY = LatencySketch()


@dataclass(slots=True)
class Blocks:
    """The logarithms of quantiles' ratios, canary's ÷ baseline's, block by block, in one step of a rollout."""

    policy: CanaryPolicy
    metric: CanaryMetric
    ratios: list[float] = field(default_factory=list)
    _since: float | None = None
    _canary: LatencySketch = _EMPTY
    _baseline: LatencySketch = _EMPTY

    def is_due(self, seconds: float) -> bool:
        """Whether `note` may lead to anything: a block begins, or has lasted long enough."""
        return self._since is None or seconds - self._since >= self.policy.interval_seconds / MOST_BLOCKS

    def note(self, seconds: float, canary: LatencySketch, baseline: LatencySketch) -> None:
        """Both revisions' latencies so far, cumulative, at a time in seconds that never goes back.

        The first call says where the first block begins."""
        if self._since is None:
            self._since, self._canary, self._baseline = seconds, canary, baseline
            return
        if not self.is_due(seconds):
            return
        fewest = max(FEWEST[self.metric], self.policy.min_requests // MOST_BLOCKS)
        if min(canary.count - self._canary.count, baseline.count - self._baseline.count) < fewest:
            return
        share = QUANTILES[self.metric]
        ratio = log_quantile(canary.since(self._canary), share) - log_quantile(baseline.since(self._baseline), share)
        self.ratios.append(round(ratio, 9))
        self._since, self._canary, self._baseline = seconds, canary, baseline
