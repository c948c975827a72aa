"""What routers and replicas report of a deployment's load: cumulative counts, and latencies as a sketch that merges.

Counts only grow, from the start of the router that counts. A lost report therefore costs nothing: the next one says all
that it said. What happened between two reports is their difference, which sketches have too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field, model_validator

from events.language.base import Model
from events.language.common import Identifier
from events.language.deployments.drift import MAX_TRAINED, ColumnCounts
from events.language.deployments.routing import RevisionNumber
from events.language.jobs.spec_monitoring import MetricName

ACCURACY = 0.01
"""Most relative error of a sketch's quantile."""

LEAST_BIN, MOST_BIN = -400, 1000
"""Bins of 0.00034 ms and of 5.6 days: what is beyond them counts in them."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)

Count = Annotated[int, Field(ge=0, le=1 << 62)]


def bin_of(milliseconds: float) -> int:
    """The bin in which a latency counts. Bin i holds latencies above γ^(i-1) ms and up to γ^i ms."""
    if milliseconds <= 0:
        return LEAST_BIN
    return min(max(math.ceil(math.log(milliseconds) / _LOG_GAMMA), LEAST_BIN), MOST_BIN)


def latency_of(index: int) -> float:
    """The milliseconds that stand for all latencies of a bin: none differs from it by more than `ACCURACY`."""
    return 2 * math.exp(index * _LOG_GAMMA) / (_GAMMA + 1)


class LatencySketch(Model):
    """A distribution of latencies, as logarithmic bins with their counts.

    DDSketch (Masson, Rim, Lee: DDSketch, VLDB 2019) with a relative error of 1 %. Sketches merge by adding the counts
    of equal bins, so the result is the same in any order.
    """

    bins: tuple[Annotated[int, Field(ge=LEAST_BIN, le=MOST_BIN)], ...] = Field(default=(), max_length=1401)
    """Bins that have a count, in ascending order. Bin i is of latencies up to γ^i milliseconds, γ = 1.01/0.99."""
    counts: tuple[Annotated[int, Field(ge=1, le=1 << 62)], ...] = Field(default=(), max_length=1401)
    """The number of requests in each of `bins`."""
    total_microseconds: Count = 0
    """The sum of all latencies: a whole number, so that sums too are exact in any order."""

    @model_validator(mode="after")
    def _bins_have_counts(self) -> LatencySketch:
        if len(self.bins) != len(self.counts):
            raise ValueError(
                f"bins has {len(self.bins)} entries and counts {len(self.counts)}; give each bin its count"
            )
        if any(left >= right for left, right in zip(self.bins, self.bins[1:], strict=False)):
            raise ValueError("bins is not in ascending order without repeats; sort it, and add counts of equal bins")
        return self

    @staticmethod
    def of(counts: Mapping[int, int], total_microseconds: int) -> LatencySketch:
        """A sketch of bins with their counts. Bins without a count are left out."""
        filled = sorted((index, count) for index, count in counts.items() if count > 0)
        return LatencySketch(
            bins=tuple(index for index, _ in filled),
            counts=tuple(count for _, count in filled),
            total_microseconds=max(0, total_microseconds),
        )

    @staticmethod
    def of_latencies(milliseconds: Iterable[float]) -> LatencySketch:
        """A sketch of these latencies."""
        counts: dict[int, int] = {}
        total = 0
        for latency in milliseconds:
            index = bin_of(latency)
            counts[index] = counts.get(index, 0) + 1
            total += round(max(0.0, latency) * 1000)
        return LatencySketch.of(counts, total)

    @staticmethod
    def merged(sketches: Iterable[LatencySketch]) -> LatencySketch:
        """The sketch of all latencies of several sketches."""
        counts: dict[int, int] = {}
        total = 0
        for sketch in sketches:
            for index, count in zip(sketch.bins, sketch.counts, strict=True):
                counts[index] = counts.get(index, 0) + count
            total += sketch.total_microseconds
        return LatencySketch.of(counts, total)

    def since(self, earlier: LatencySketch) -> LatencySketch:
        """The sketch of what came after `earlier`, a cumulative sketch of the same source."""
        counts = dict(zip(self.bins, self.counts, strict=True))
        for index, count in zip(earlier.bins, earlier.counts, strict=True):
            counts[index] = counts.get(index, 0) - count
        return LatencySketch.of(counts, self.total_microseconds - earlier.total_microseconds)

    @property
    def count(self) -> int:
        """How many latencies it is of."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Milliseconds; None if it is empty."""
        return self.total_microseconds / self.count / 1000 if self.counts else None

    def quantile(self, share: float) -> float | None:
        """The latency in milliseconds that this share (0 to 1) of the requests does not exceed; None if it is empty.

        The rank is that of the sorted values without interpolation, floor(share × (count − 1)).
        """
        rank = math.floor(share * (self.count - 1))
        for index, count in zip(self.bins, self.counts, strict=True):
            rank -= count
            if rank < 0:
                return latency_of(index)
        return None


class RevisionTraffic(Model):
    """What one router counted of one revision since the router's start."""

    revision: RevisionNumber
    requests: Count = 0
    """Requests that a replica was asked for and that ended, failures among them."""
    failures: Count = 0
    """Those that the replica is to blame for: an answer 5xx, or none. An error of the caller (4xx) is no failure."""
    shed: Count = 0
    """Requests turned away with 503, since all replicas had as many as they may have. They are not in `requests`."""
    in_flight: Count = 0
    """Requests that wait for their answers now."""
    latency: LatencySketch = LatencySketch()
    """From a request's first byte to its answer's last, of the requests that did not fail."""

    @model_validator(mode="after")
    def _failures_are_requests(self) -> RevisionTraffic:
        if self.failures > self.requests:
            raise ValueError(
                f"failures is {self.failures} and requests {self.requests}; failures are among the requests"
            )
        return self


class ReplicaTraffic(Model):
    """Requests that a router still has at a replica that its table names no more."""

    replica_id: Identifier
    in_flight: Annotated[int, Field(ge=1, le=1_000_000)]


class TrafficCounts(Model):
    """What one router has counted of a deployment, from its start until now."""

    incarnation: Identifier
    """Another one each time that the router starts, since it then counts from zero."""
    seconds: float = Field(ge=0, le=1e10)
    """How long it has run, by a clock that never goes back: rates are counts by these seconds, so a report that comes
    late changes no rate."""
    routing: int = Field(default=0, ge=0, le=1 << 53)
    """The number of the routing table that it works by."""
    held: int = Field(default=0, ge=0, le=1_000_000)
    """Requests that it holds until a replica is ready."""
    revisions: tuple[RevisionTraffic, ...] = Field(default=(), max_length=100)
    leaving: tuple[ReplicaTraffic, ...] = Field(default=(), max_length=1000)
    """Replicas that have left the table and still answer requests."""

    @model_validator(mode="after")
    def _once_each(self) -> TrafficCounts:
        numbers = [entry.revision for entry in self.revisions]
        if len(numbers) != len(set(numbers)):
            raise ValueError("revisions names a revision twice; add its counts up")
        return self


class ReplicaReport(Model):
    """What a replica tells its node's agent, when that asks."""

    custom: dict[MetricName, float] = Field(default_factory=dict, max_length=32)
    """Its own metrics by their names, as they are now."""
    inputs: tuple[ColumnCounts, ...] = Field(default=(), max_length=MAX_TRAINED)
    """What it was asked since its start, by the bins of its model's training data."""


class ReplicaUsage(Model):
    """What a replica uses of what it was given: means of the last seconds, by its node's agent."""

    replica_id: Identifier
    cpu_percent: float | None = Field(default=None, ge=0, le=1_000_000)
    """Of the CPUs that it asked for; over 100 where it uses idle ones too."""
    memory_percent: float | None = Field(default=None, ge=0, le=1_000_000)
    """Of the memory that it asked for."""
    gpu_percent: float | None = Field(default=None, ge=0, le=100)
    """How busy its GPUs are, on average; None without GPUs."""
    custom: dict[MetricName, float] = Field(default_factory=dict, max_length=32)
    """Its own metrics by their names."""
    inputs: tuple[ColumnCounts, ...] = Field(default=(), max_length=MAX_TRAINED)
    """What it was asked since the report before, by the bins of its model's training data. Lost with a report that is
    lost: shares stay what they are."""
