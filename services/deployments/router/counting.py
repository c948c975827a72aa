"""Counts what became of requests, by deployment and revision, from the lines of the access log. Pure.

What counts as a request of a revision, as a failure and as turned away: see `RevisionTraffic`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from events.language.deployments.traffic import LatencySketch, RevisionTraffic, bin_of

_SHED = "UO"
"""Envoy's flag of a request that was turned away, since the cluster had as many as it may have."""

_UNANSWERED = frozenset({"UF", "UC", "UR", "URX", "UH", "UT", "SI", "LR"})
"""Envoy's flags of a request that no replica answered: none could be reached, it broke off, or it was silent."""

_SWITCHED = 101
"""The status of a connection that becomes a WebSocket: how long it lasts is no latency."""

_GRPC_FAILURES = frozenset({2, 4, 13, 14, 15})
"""Unknown, deadline exceeded, internal, unavailable, data loss."""


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    failures: int = 0
    shed: int = 0
    bins: dict[int, int] = field(default_factory=dict)
    microseconds: int = 0


@dataclass(slots=True)
class Counting:
    """What was counted since the router's start."""

    _counts: dict[str, dict[int, _Counts]] = field(default_factory=dict)
    """Deployment → revision."""

    def take(self, requests: Iterable[Mapping[str, Any]]) -> set[str]:
        """Count these lines. Returns the deployments that they are of."""
        found = set[str]()
        for request in requests:
            deployment, revision = request.get("deployment"), _revision(request)
            if not isinstance(deployment, str) or not revision:
                continue
            found.add(deployment)
            counts = self._counts.setdefault(deployment, {}).setdefault(revision, _Counts())
            _count(counts, request)
        return found

    def forget(self, deployments: Iterable[str]) -> None:
        """These have ended."""
        for deployment in deployments:
            self._counts.pop(deployment, None)

    def of(self, deployment: str, in_flight: Mapping[int, int]) -> tuple[RevisionTraffic, ...]:
        """The revisions that had requests, or have some: `in_flight`, by revision."""
        known = self._counts.get(deployment, {})
        return tuple(
            _traffic(revision, known.get(revision, _Counts()), in_flight.get(revision, 0))
            for revision in sorted(known.keys() | {revision for revision, count in in_flight.items() if count})
        )


def _traffic(revision: int, counts: _Counts, in_flight: int) -> RevisionTraffic:
    return RevisionTraffic(
        revision=revision,
        requests=counts.requests,
        failures=counts.failures,
        shed=counts.shed,
        in_flight=in_flight,
        latency=LatencySketch.of(counts.bins, counts.microseconds),
    )


def _revision(request: Mapping[str, Any]) -> int:
    """That of the replica; else that of the cluster that had none for it. 0 for none: a request that waited in vain, or
    that a guard refused."""
    if text := request.get("revision"):
        return _number(text)
    cluster = request.get("cluster")
    parts = cluster.split("/") if isinstance(cluster, str) else []
    asked = {*_flags(request)} & {_SHED, *_UNANSWERED}
    return _number(parts[1]) if len(parts) == 3 and asked else 0


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0


def _flags(request: Mapping[str, Any]) -> list[str]:
    flags = request.get("flags")
    return flags.split(",") if isinstance(flags, str) else []


def _count(counts: _Counts, request: Mapping[str, Any]) -> None:
    flags, status = _flags(request), request.get("status")
    if _SHED in flags:
        counts.shed += 1
        return
    counts.requests += 1
    if _failed(flags, status, request.get("grpc")):
        counts.failures += 1
        return
    micros = request.get("micros")
    if isinstance(micros, int) and micros >= 0 and status != _SWITCHED:
        counts.microseconds += micros
        index = bin_of(micros / 1000)
        counts.bins[index] = counts.bins.get(index, 0) + 1


def _failed(flags: list[str], status: object, grpc: object) -> bool:
    """A client that went away (status 0) is no failure of the replica."""
    if grpc in _GRPC_FAILURES or (isinstance(status, int) and status >= 500):
        return True
    return not _UNANSWERED.isdisjoint(flags) and status != 0
