"""A deployment's load as its routers and replicas report it: running totals, rates and latencies of the last time.

What reports say is volatile: nothing of it is in the log but the numbers that decisions are made on. After a restart
the windows fill anew. Pure: the time comes with each call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from events.language.deployments.scaling import ScalingMetric
from events.language.deployments.traffic import LatencySketch, ReplicaUsage, RevisionTraffic, TrafficCounts

ROUTER_LOST_SECONDS = 10.0
"""Silence after which a router no longer counts."""

USAGE_LOST_SECONDS = 45.0
"""Age at which a replica's use is no longer known: agents report every 10 seconds."""

MARKS = 120
"""Most points that a window is kept in."""

_Value = TypeVar("_Value")


@dataclass(slots=True)
class Totals:
    """What came since the watch began. Only grows."""

    requests: int = 0
    failures: int = 0
    shed: int = 0
    bins: dict[int, int] = field(default_factory=dict)
    microseconds: int = 0

    def add(self, later: RevisionTraffic, earlier: RevisionTraffic | None) -> None:
        """Adds what one router counted between two reports."""
        if earlier is None:
            earlier = RevisionTraffic(revision=later.revision)
        self.requests += max(0, later.requests - earlier.requests)
        self.failures += max(0, later.failures - earlier.failures)
        self.shed += max(0, later.shed - earlier.shed)
        new = later.latency.since(earlier.latency)
        self.microseconds += new.total_microseconds
        for index, count in zip(new.bins, new.counts, strict=True):
            self.bins[index] = self.bins.get(index, 0) + count

    @property
    def arrivals(self) -> int:
        """Requests, those that were turned away among them."""
        return self.requests + self.shed

    def sketch(self) -> LatencySketch:
        return LatencySketch.of(self.bins, self.microseconds)

    def copy(self) -> Totals:
        return Totals(self.requests, self.failures, self.shed, dict(self.bins), self.microseconds)

    @staticmethod
    def sum(parts: Iterable[Totals]) -> Totals:
        """All revisions together."""
        total = Totals()
        for part in parts:
            total.requests += part.requests
            total.failures += part.failures
            total.shed += part.shed
            total.microseconds += part.microseconds
            for index, count in part.bins.items():
                total.bins[index] = total.bins.get(index, 0) + count
        return total


@dataclass(slots=True)
class _Router:
    """One router's reports."""

    counts: TrafficCounts
    heard: float
    """When the last report came."""
    arrivals: deque[tuple[float, int]]
    """The router's seconds and its requests of all revisions by then, for rates."""


@dataclass(slots=True)
class Watch:
    """The load of one deployment. Times are seconds (POSIX) that never go back."""

    span_seconds: float = 60.0
    """How far back rates and latencies are asked for."""
    keeps_latencies: bool = False
    """Whether latencies are asked for: what a window of them needs is some hundred kilobytes."""
    began: float | None = None
    totals: dict[int, Totals] = field(default_factory=dict)
    """By revision."""
    last_request: float | None = None
    """When the last request came, as far as it was watched."""
    _routers: dict[str, _Router] = field(default_factory=dict)
    _latencies: deque[tuple[float, Totals]] = field(default_factory=deque)
    """Totals of all revisions at past times."""
    _usage: dict[str, tuple[float, ReplicaUsage]] = field(default_factory=dict)

    def note(self, router: str, counts: TrafficCounts, now: float) -> None:
        """A router's report. The first one of an incarnation says from where it counts; reports that come out of order
        are left out."""
        if self.began is None:
            self.began = self.last_request = now
        known = self._routers.get(router)
        if known is None or known.counts.incarnation != counts.incarnation:
            known = _Router(counts, now, deque())
            self._routers[router] = known
        elif counts.seconds <= known.counts.seconds:
            return
        else:
            before = {entry.revision: entry for entry in known.counts.revisions}
            for entry in counts.revisions:
                earlier = before.get(entry.revision)
                if earlier is not None and earlier.requests + earlier.shed == entry.requests + entry.shed:
                    continue
                self.totals.setdefault(entry.revision, Totals()).add(entry, earlier)
            known.counts, known.heard = counts, now
        arrivals = sum(entry.requests + entry.shed for entry in counts.revisions)
        if (known.arrivals and arrivals > known.arrivals[-1][1]) or self._in_flight(counts):
            self.last_request = now
        self._mark(known.arrivals, counts.seconds, arrivals)
        if self.keeps_latencies:
            self._mark(self._latencies, now, Totals.sum(self.totals.values()))
        else:
            self._latencies.clear()

    def note_usage(self, usage: ReplicaUsage, now: float) -> None:
        """What a replica uses, by its node's agent."""
        self._usage[usage.replica_id] = (now, usage)

    def forget_lost(self, now: float) -> None:
        """Leaves out routers and replicas that were not heard of for long."""
        for name in [name for name, router in self._routers.items() if now - router.heard > ROUTER_LOST_SECONDS]:
            del self._routers[name]
        for name in [name for name, (heard, _) in self._usage.items() if now - heard > USAGE_LOST_SECONDS]:
            del self._usage[name]
        if not self._routers:
            self.began = None  # what happens meanwhile is not seen

    def rate(self, seconds: float) -> float | None:
        """Requests per second of all routers over the last `seconds`; None if they were not watched for so long as two
        reports are apart, or no router is heard of."""
        rates = [_rate(router.arrivals, seconds) for router in self._routers.values()]
        known = [rate for rate in rates if rate is not None]
        return sum(known) if known else None

    def latency(self, share: float, seconds: float, now: float) -> float | None:
        """A quantile of latency in milliseconds over the last `seconds`. 0 if there was no request; None if no router
        is heard of, or latencies are not kept."""
        if not self._routers or len(self._latencies) < 2:
            return None
        first = _at(self._latencies, now - seconds)[1]
        last = self._latencies[-1][1]
        return last.sketch().since(first.sketch()).quantile(share) or 0.0

    def usage(self) -> list[ReplicaUsage]:
        """Of all replicas that are heard of."""
        return [usage for _, usage in self._usage.values()]

    def mean_usage(self, metric: ScalingMetric, custom: str = "") -> float | None:
        """What replicas use, on average of those that say it; None if none does. `custom`: their own metric's name."""
        values = [value for usage in self.usage() if (value := _used(usage, metric, custom)) is not None]
        return fmean(values) if values else None

    @property
    def held(self) -> int:
        """Requests that routers hold until a replica is ready."""
        return sum(router.counts.held for router in self._routers.values())

    def routings(self) -> list[int]:
        """The number of the routing table that each router works by."""
        return [router.counts.routing for router in self._routers.values()]

    def in_flight_at(self, replica_id: str) -> int:
        """Requests that routers still have at a replica that their tables name no more."""
        return sum(
            leaving.in_flight
            for router in self._routers.values()
            for leaving in router.counts.leaving
            if leaving.replica_id == replica_id
        )

    def watched_seconds(self, now: float) -> float:
        return 0.0 if self.began is None else max(0.0, now - self.began)

    def idle_seconds(self, now: float) -> float | None:
        """Since the last request, or since it is watched; None if no router is heard of."""
        return None if self.began is None or self.last_request is None else max(0.0, now - self.last_request)

    @staticmethod
    def _in_flight(counts: TrafficCounts) -> bool:
        return counts.held > 0 or any(entry.in_flight for entry in counts.revisions)

    def _mark(self, marks: deque[tuple[float, _Value]], at: float, value: _Value) -> None:
        """Keeps a point of a cumulative series, and forgets those that no window reaches."""
        if len(marks) >= 2 and at - marks[-2][0] < self.span_seconds / MARKS:
            marks.pop()  # the newest replaces one that came just before
        marks.append((at, value))
        while len(marks) > 2 and marks[1][0] <= at - self.span_seconds:
            marks.popleft()


def _used(usage: ReplicaUsage, metric: ScalingMetric, custom: str) -> float | None:
    match metric:
        case ScalingMetric.CPU:
            return usage.cpu_percent
        case ScalingMetric.MEMORY:
            return usage.memory_percent
        case ScalingMetric.GPU:
            return usage.gpu_percent
    return usage.custom.get(custom)


def _at(marks: deque[tuple[float, _Value]], at: float) -> tuple[float, _Value]:
    """The newest point that is no younger; the oldest if all are."""
    found = marks[0]
    for mark in marks:
        if mark[0] > at:
            break
        found = mark
    return found


def _rate(marks: deque[tuple[float, int]], seconds: float) -> float | None:
    if len(marks) < 2:
        return None
    last_at, last = marks[-1]
    first_at, first = _at(marks, last_at - seconds)
    if last_at <= first_at:
        return None
    return max(0.0, last - first) / (last_at - first_at)
