"""Makes of stored minutes what is told of a window: rates, percentiles, costs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from events.language.deployments.drift import TrainingData
from events.language.deployments.traffic import LatencySketch
from events.language.deployments.traffic_records import MINUTE, Usage
from services.deployments.alerts.drift import add, highest_of
from services.deployments.windows.folding import Row, sum_of

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Of an hour of a CPU and of a GPU; 0 for none that is known."""

    cpu: float = 0.0
    gpu: float = 0.0

    def of_hour(self, cpus: float, gpus: float) -> float | None:
        return cpus * self.cpu + gpus * self.gpu if self.cpu or self.gpu else None


@dataclass(frozen=True, slots=True)
class Run:
    """When a replica ran, POSIX seconds, and what it was given."""

    revision: int
    began: float
    ended: float
    cpus: float
    gpus: float

    def seconds_in(self, begin: float, end: float) -> float:
        return max(0.0, min(self.ended, end) - max(self.began, begin))


@dataclass(frozen=True, slots=True)
class Asked:
    """Which windows are wanted."""

    deployment_id: str
    begin: int
    """POSIX seconds, a multiple of `seconds`."""
    end: int
    seconds: int
    """Of a window, whole minutes."""
    revisions: frozenset[int] = frozenset()
    """Empty: all."""
    by_revision: bool = False
    """Whether each revision has windows of its own."""


Trained = Mapping[int, TrainingData]
"""Revision → what requests to it are compared with."""


def measured(
    asked: Asked, minutes: Iterable[Mapping[str, Any]], runs: Sequence[Run], prices: Prices, trained: Trained
) -> list[Row]:
    """The windows in which there were requests or replicas, newest first: fields of `ModelServingMetrics`.

    `minutes`: rows of the stream, with `revision`, `minute`, `requests` and `usage`.
    """
    parts: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in minutes:
        if asked.revisions and row["revision"] not in asked.revisions:
            continue
        begin = row["minute"] * MINUTE // asked.seconds * asked.seconds
        parts.setdefault((begin, row["revision"] if asked.by_revision else 0), []).append(row)
    chosen = [run for run in runs if not asked.revisions or run.revision in asked.revisions]
    for key in _with_replicas(asked, chosen):
        parts.setdefault(key, [])
    return [
        _window(asked, begin, revision, parts[begin, revision], chosen, prices, trained)
        for begin, revision in sorted(parts, key=lambda key: (-key[0], key[1]))
    ]


def _with_replicas(asked: Asked, runs: Iterable[Run]) -> Iterable[tuple[int, int]]:
    for run in runs:
        first = max(asked.begin, int(run.began) // asked.seconds * asked.seconds)
        for begin in range(first, asked.end, asked.seconds):
            if run.seconds_in(begin, begin + asked.seconds) <= 0:
                break
            yield begin, run.revision if asked.by_revision else 0


def _window(
    asked: Asked,
    begin: int,
    revision: int,
    parts: Sequence[Mapping[str, Any]],
    runs: Iterable[Run],
    prices: Prices,
    trained: Trained,
) -> Row:
    requests = sum_of([part["requests"] for part in parts])
    usage = {name: sum(part["usage"][name] for part in parts) for name in Usage.model_fields if name != "inputs"}
    index, column = highest_of(asked_of(parts), trained) or (None, "")
    total, failed = requests["total"], requests["failures"]
    sketch = LatencySketch.model_validate(requests["latency"])
    ran = [
        (run.seconds_in(begin, begin + asked.seconds), prices.of_hour(run.cpus, run.gpus))
        for run in runs
        if not asked.by_revision or run.revision == revision
    ]
    costs = [seconds / HOUR * hour for seconds, hour in ran if hour is not None]
    return {
        "deployment_id": asked.deployment_id,
        "revision": revision,
        "window_start": datetime.fromtimestamp(begin, UTC),
        "window_seconds": asked.seconds,
        "total_requests": total,
        "successful_requests": total - failed - requests["refusals"] - requests["cancelled"],
        "failed_requests": failed,
        "refused_requests": requests["refusals"],
        "cancelled_requests": requests["cancelled"],
        "requests_per_second": total / asked.seconds,
        "average_latency_ms": sketch.mean,
        "p50_latency_ms": sketch.quantile(0.5),
        "p95_latency_ms": sketch.quantile(0.95),
        "p99_latency_ms": sketch.quantile(0.99),
        "max_latency_ms": requests["longest_microseconds"] / 1000 if sketch.count else None,
        "average_preprocessing_ms": _mean(requests["preprocessing"]),
        "average_queue_ms": _mean(requests["queue"]),
        "average_inference_ms": _mean(requests["inference"]),
        "average_postprocessing_ms": _mean(requests["postprocessing"]),
        "error_rate": failed / total if total else None,
        "timeout_rate": requests["timeouts"] / total if total else None,
        "request_bytes": requests["request_bytes"],
        "response_bytes": requests["response_bytes"],
        **{f"{name}_percent": _percent(usage, name) for name in ("cpu", "memory", "gpu")},
        "replica_seconds": sum(seconds for seconds, _ in ran),
        "estimated_cost": sum(costs) if costs or (prices.cpu or prices.gpu) else None,
        "drift": index,
        "drift_column": column,
    }


def asked_of(parts: Iterable[Mapping[str, Any]]) -> dict[int, dict[int, list[int]]]:
    """Revision → column → counts of what its replicas were asked in these minutes."""
    found: dict[int, dict[int, list[int]]] = {}
    for part in parts:
        add(
            found.setdefault(part["revision"], {}),
            ((each["column"], each["counts"]) for each in part["usage"].get("inputs", ())),
        )
    return found


def _mean(duration: Mapping[str, int]) -> float | None:
    return duration["microseconds"] / duration["count"] / 1000 if duration["count"] else None


def _percent(usage: Mapping[str, Any], name: str) -> float | None:
    reports = usage[f"{name}_reports"]
    return usage[f"{name}_percent"] / reports if reports else None
