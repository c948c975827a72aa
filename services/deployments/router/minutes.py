"""Counts requests by revision and by the minute in which they began. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from events.language.deployments.telemetry import InferenceErrorType, InferenceOutcome
from events.language.deployments.traffic import bin_of
from events.language.deployments.traffic_records import MINUTE
from services.deployments.router.records import Record

_SWITCHED = 101
"""The status of a connection that becomes a WebSocket: how long it lasts is no latency."""

_COUNTED = {
    InferenceOutcome.FAILED: "failures",
    InferenceOutcome.REFUSED: "refusals",
    InferenceOutcome.CANCELLED: "cancelled",
}
_TIMES = {
    "preprocessing_ms": "preprocessing",
    "queue_ms": "queue",
    "inference_ms": "inference",
    "postprocessing_ms": "postprocessing",
}


@dataclass(slots=True)
class _Minute:
    counts: dict[str, int] = field(default_factory=dict)
    bins: dict[int, int] = field(default_factory=dict)
    microseconds: int = 0
    times: dict[str, list[int]] = field(default_factory=dict)
    """Name → how many, and the sum of microseconds."""

    def add(self, name: str, value: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + value


def minutes(records: Iterable[Record]) -> list[Mapping[str, Any]]:
    """The `MinuteRequests` of these requests of one deployment, as JSON."""
    found: dict[tuple[int, int], _Minute] = {}
    for record in records:
        place = record["revision"], int(record["started_at"]) // MINUTE
        _count(found.setdefault(place, _Minute()), record)
    return [
        {"revision": revision, "minute": minute, "requests": _told(counted)}
        for (revision, minute), counted in sorted(found.items())
    ]


def _count(minute: _Minute, record: Record) -> None:
    minute.add("total", 1)
    minute.add("request_bytes", record["request_bytes"])
    minute.add("response_bytes", record["response_bytes"])
    if (name := _COUNTED.get(record["outcome"])) is not None:
        minute.add(name, 1)
    elif record["status"] != _SWITCHED:
        micros = round(record["latency_ms"] * 1000)
        minute.microseconds += micros
        minute.counts["longest_microseconds"] = max(minute.counts.get("longest_microseconds", 0), micros)
        index = bin_of(record["latency_ms"])
        minute.bins[index] = minute.bins.get(index, 0) + 1
    if record.get("error_type") == InferenceErrorType.TIMEOUT:
        minute.add("timeouts", 1)
    for field_, name in _TIMES.items():
        if (milliseconds := record.get(field_)) is not None:
            timed = minute.times.setdefault(name, [0, 0])
            timed[0] += 1
            timed[1] += round(milliseconds * 1000)


def _told(minute: _Minute) -> Mapping[str, Any]:
    bins = sorted(minute.bins)
    return {
        **{name: value for name, value in minute.counts.items() if value},
        "latency": {
            "bins": bins,
            "counts": [minute.bins[index] for index in bins],
            "total_microseconds": minute.microseconds,
        },
        **{name: {"count": count, "microseconds": total} for name, (count, total) in minute.times.items()},
    }
