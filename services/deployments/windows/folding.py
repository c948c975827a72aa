"""Adds up what routers counted, and what agents reported, into windows of a minute. Pure.

A window knows of each source the last record that it has counted. So records may come again, in any number, after the
windows were restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.language.deployments.steering import ReportUsage
from events.language.deployments.traffic import ReplicaUsage
from events.language.deployments.traffic_records import MINUTE, Requests, TrafficRecord, Usage, WindowRecord
from events.log.ids import revision_of
from services.deployments.alerts.drift import add, summed

KEPT_SECONDS = 7200.0
"""A window that got nothing for so long, by the times of the records, is put aside as complete."""

MOST_REVISION = 1_000_000_000
"""What an `OptionalRevision` may be."""

Row = dict[str, Any]
"""A window as JSON: a `WindowRecord` with `counted` and `touched` beside."""

_SUMS = (
    "total",
    "failures",
    "refusals",
    "cancelled",
    "timeouts",
    "request_bytes",
    "response_bytes",
)
_DURATIONS = ("preprocessing", "queue", "inference", "postprocessing")


@dataclass(frozen=True, slots=True)
class Came:
    """Where a record came from."""

    partition: int
    offset: int
    seconds: float
    """When it was written to its topic (POSIX)."""


@dataclass(slots=True)
class Change:
    """What a record adds to one window."""

    key: str
    row: Row
    """An empty window, for where there is none."""
    source: str
    sequence: int
    requests: Mapping[str, Any] | None = None
    usages: list[ReplicaUsage] = field(default_factory=list)


def of_traffic(record: TrafficRecord, came: Came) -> Iterator[Change]:
    for each in record.minutes:
        yield Change(
            *_empty(record.deployment_id, each.revision, each.minute, came),
            record.source,
            record.sequence,
            requests=each.requests.model_dump(mode="json"),
        )


def of_usage(record: ReportUsage, project: str, came: Came) -> Iterator[Change]:
    minute = int(came.seconds) // MINUTE
    by_revision: dict[int, list[ReplicaUsage]] = {}
    for usage in record.replicas:
        found = revision_of(usage.replica_id, project)
        if found is not None and found[1] <= MOST_REVISION:
            by_revision.setdefault(found[1], []).append(usage)
    for revision, usages in by_revision.items():
        yield Change(
            *_empty(record.deployment_id, revision, minute, came),
            f"usage/{came.partition}",
            came.offset + 1,
            usages=usages,
        )


def added(row: Row, change: Change, came: Came) -> Row | None:
    """The window with what is new; None if that was counted before."""
    if row["counted"].get(change.source, 0) >= change.sequence:
        return None
    new = {
        **row,
        "version": row["version"] + 1,
        "touched": max(row["touched"], came.seconds),
        "counted": {**row["counted"], change.source: change.sequence},
    }
    if change.requests is not None:
        new["requests"] = sum_of((row["requests"], change.requests))
    if change.usages:
        new["usage"] = _used(row["usage"], change.usages)
    return new


def is_complete(row: Row, came: Came) -> bool:
    """Whether a window is kept no longer. Only one of the record's own partition is told complete by it."""
    return bool(row["partition"] == came.partition and came.seconds - row["touched"] > KEPT_SECONDS)


def window_of(row: Row) -> Row:
    """What is told of a window: the content of a `WindowRecord`."""
    return {name: row[name] for name in WindowRecord.model_fields}


def sum_of(parts: Sequence[Mapping[str, Any]]) -> Row:
    """Several `Requests` as JSON together."""
    if len(parts) == 1:
        return dict(parts[0])
    found: Row = {name: sum(part[name] for part in parts) for name in _SUMS}
    found["longest_microseconds"] = max((part["longest_microseconds"] for part in parts), default=0)
    for name in _DURATIONS:
        found[name] = {what: sum(part[name][what] for part in parts) for what in ("count", "microseconds")}
    found["latency"] = _latency([part["latency"] for part in parts])
    return found


def _latency(sketches: Sequence[Mapping[str, Any]]) -> Row:
    """Sketches merge by adding the counts of equal bins (DDSketch)."""
    counts: dict[int, int] = {}
    for sketch in sketches:
        for index, count in zip(sketch["bins"], sketch["counts"], strict=True):
            counts[index] = counts.get(index, 0) + count
    bins = sorted(counts)
    total = sum(sketch["total_microseconds"] for sketch in sketches)
    return {"bins": bins, "counts": [counts[index] for index in bins], "total_microseconds": total}


def _used(usage: Mapping[str, Any], reports: list[ReplicaUsage]) -> Row:
    new = dict(usage)
    counts = summed(report.inputs for report in reports)
    add(counts, ((each["column"], each["counts"]) for each in usage.get("inputs", ())))
    new["inputs"] = [{"column": column, "counts": each} for column, each in sorted(counts.items())]
    for report in reports:
        for name in ("cpu", "memory", "gpu"):
            value = getattr(report, f"{name}_percent")
            if value is not None:
                new[f"{name}_percent"] = round(new[f"{name}_percent"] + value, 6)
                new[f"{name}_reports"] += 1
    return new


def _empty(deployment: str, revision: int, minute: int, came: Came) -> tuple[str, Row]:
    """The key of a window, and one without anything. Its part is named by the record that opens it, which is the same
    whenever that record comes."""
    window = WindowRecord(
        deployment_id=deployment,
        revision=revision,
        minute=minute,
        part=f"{came.partition}-{came.offset}",
        version=0,
        requests=Requests(),
        usage=Usage(),
    )
    row = window.model_dump(mode="json") | {"counted": {}, "touched": came.seconds, "partition": came.partition}
    return f"{deployment}/{revision}/{minute}", row
