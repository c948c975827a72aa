"""Windows add up what routers counted, whatever comes twice, late or in another order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.deployments.steering import ReportUsage
from events.language.deployments.traffic import LatencySketch, ReplicaUsage
from events.language.deployments.traffic_records import MinuteRequests, Requests, TrafficRecord, WindowRecord
from events.log.ids import named_id, replica_job
from services.deployments.windows.folding import (
    KEPT_SECONDS,
    Came,
    added,
    is_complete,
    of_traffic,
    of_usage,
    window_of,
)
from services.deployments.windows.measuring import Asked, Prices, Run, measured
from services.deployments.windows.stream import Stored, WindowStream


class Table:
    """What the application keeps, and what it told of each part of a window."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.told: dict[tuple[str, str], Any] = {}

    def take(self, changes: Any, came: Came) -> None:
        for change in changes:
            row = added(self.rows.get(change.key, change.row), change, came)
            if row is not None:
                self.rows[change.key] = row
                window = WindowRecord.model_validate(window_of(row))
                self.told[change.key, window.part] = window.model_dump(mode="json")

    def sweep(self, came: Came) -> None:
        self.rows = {key: row for key, row in self.rows.items() if not is_complete(row, came)}


def traffic(source: str, sequence: int, total: int, minute: int = 100, revision: int = 1) -> TrafficRecord:
    requests = Requests(total=total, latency=LatencySketch.of_latencies([5.0] * total), longest_microseconds=5_000)
    return TrafficRecord(
        source=source,
        sequence=sequence,
        deployment_id="digits",
        minutes=(MinuteRequests(revision=revision, minute=minute, requests=requests),),
    )


SENT = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5), st.integers(100, 102)), max_size=20)


@given(SENT, st.data())
def test_windows_equal_the_requests_though_any_suffix_comes_again(sent: list[Any], data: Any) -> None:
    sequences: Counter[str] = Counter()
    records = []
    for source, total, minute in sent:
        sequences[source] += 1
        records.append(traffic(source, sequences[source], total, minute))
    table = Table()
    read = 0
    while read < len(records):
        # As after a kill: the table has what was read, and reading begins anew at what was committed.
        begin = data.draw(st.integers(0, read))
        read = data.draw(st.integers(read + 1, len(records)))
        for offset in range(begin, read):
            table.take(of_traffic(records[offset], Came(0, offset, 6_000.0)), Came(0, offset, 6_000.0))
    wanted: Counter[int] = Counter()
    for _, total, minute in sent:
        wanted[minute] += total
    found = Counter({window["minute"]: window["requests"]["total"] for window in table.told.values()})
    assert found == wanted
    assert sum(sum(window["requests"]["latency"]["counts"]) for window in table.told.values()) == sum(wanted.values())


def test_what_comes_after_a_window_was_put_aside_is_another_part_of_it() -> None:
    table = Table()
    table.take(of_traffic(traffic("a", 1, 3), Came(2, 10, 6_000.0)), Came(2, 10, 6_000.0))
    late = Came(2, 500, 6_000.0 + KEPT_SECONDS + 1)
    table.sweep(Came(1, 0, late.seconds))
    assert table.rows  # another partition's time says nothing of it
    table.sweep(late)
    assert not table.rows
    table.take(of_traffic(traffic("a", 2, 4), late), late)
    assert [(part, window["requests"]["total"]) for (_, part), window in table.told.items()] == [
        ("2-10", 3),
        ("2-500", 4),
    ]


@pytest.mark.parametrize("project", ["local/default", "acme/vision"])
def test_use_is_added_to_the_minute_and_the_revision_of_the_replica_once(project: str) -> None:
    table = Table()
    id = named_id("digits", project)
    report = ReportUsage(
        deployment_id=id,
        replicas=(
            ReplicaUsage(replica_id=replica_job(id, 3, 1, project), cpu_percent=50, memory_percent=20),
            ReplicaUsage(replica_id=replica_job(id, 3, 2, project), cpu_percent=100),
            ReplicaUsage(replica_id=replica_job(id, 4, 1, project), gpu_percent=10),
            ReplicaUsage(replica_id="other"),
        ),
    )
    for _ in range(2):
        table.take(of_usage(report, project, Came(0, 7, 6_030.0)), Came(0, 7, 6_030.0))
    used = {key: window["usage"] for (key, _), window in table.told.items()}
    assert used[f"{id}/3/100"] == {
        "cpu_percent": 150.0,
        "cpu_reports": 2,
        "memory_percent": 20.0,
        "memory_reports": 1,
        "gpu_percent": 0.0,
        "gpu_reports": 0,
        "inputs": [],
    }
    assert used[f"{id}/4/100"]["gpu_percent"] == 10
    assert len(used) == 2


def test_a_state_that_is_no_newer_is_not_stored() -> None:
    stream, state = WindowStream(), Stored()
    records = [
        WindowRecord(deployment_id="digits", revision=1, minute=1, part="0-1", version=version) for version in (1, 3, 2)
    ]
    assert [len(stream.take(state, each, 0.0)) for each in records] == [1, 1, 0]


def minute(number: int, revision: int = 1, **counts: Any) -> dict[str, Any]:
    requests = Requests.model_validate(counts).model_dump(mode="json")
    usage = {f"{name}_{what}": 0 for name in ("cpu", "memory", "gpu") for what in ("percent", "reports")}
    return {"revision": revision, "minute": number, "requests": requests, "usage": usage}


def test_what_is_told_of_a_window() -> None:
    latency = LatencySketch.of_latencies([10.0] * 90 + [100.0] * 6).model_dump()
    row = minute(
        100,
        total=120,
        failures=12,
        refusals=6,
        cancelled=6,
        timeouts=3,
        latency=latency,
        longest_microseconds=100_400,
        request_bytes=1_200,
        response_bytes=2_400,
        inference={"count": 96, "microseconds": 192_000},
    )
    row["usage"] |= {"cpu_percent": 90.0, "cpu_reports": 2}
    runs = [Run(1, 5_000.0, 9_000.0, 2.0, 1.0), Run(1, 6_030.0, 6_040.0, 2.0, 1.0)]
    (found,) = measured(Asked("digits", 6_000, 6_060, 60), [row], runs, Prices(cpu=0.1, gpu=2.0), {})
    assert found["window_start"].timestamp() == 6_000
    told = {name: value for name, value in found.items() if name not in ("window_start", "deployment_id")}
    assert told == {
        "revision": 0,
        "window_seconds": 60,
        "total_requests": 120,
        "successful_requests": 96,
        "failed_requests": 12,
        "refused_requests": 6,
        "cancelled_requests": 6,
        "requests_per_second": 2.0,
        "average_latency_ms": 15.625,
        "p50_latency_ms": pytest.approx(10, rel=0.01),
        "p95_latency_ms": pytest.approx(100, rel=0.01),
        "p99_latency_ms": pytest.approx(100, rel=0.01),
        "max_latency_ms": 100.4,
        "average_preprocessing_ms": None,
        "average_queue_ms": None,
        "average_inference_ms": 2.0,
        "average_postprocessing_ms": None,
        "error_rate": 0.1,
        "timeout_rate": 0.025,
        "request_bytes": 1_200,
        "response_bytes": 2_400,
        "cpu_percent": 45.0,
        "memory_percent": None,
        "gpu_percent": None,
        "replica_seconds": 70.0,
        "estimated_cost": pytest.approx(70 / 3600 * 2.2),
        "drift": None,
        "drift_column": "",
    }


def test_minutes_and_parts_join_in_longer_windows_by_revision_or_not() -> None:
    rows = [minute(60, total=1), minute(60, total=2), minute(119, total=4), minute(120, 2, total=8)]
    hours = Asked("digits", 3_600, 10_800, 3_600)
    told = [(each["window_start"].hour, each["total_requests"]) for each in measured(hours, rows, [], Prices(), {})]
    assert told == [(2, 8), (1, 7)]
    apart = Asked("digits", 3_600, 10_800, 7_200, by_revision=True)
    assert [(each["revision"], each["total_requests"]) for each in measured(apart, rows, [], Prices(), {})] == [
        (2, 8),
        (1, 7),
    ]
    one = Asked("digits", 3_600, 10_800, 3_600, revisions=frozenset({2}))
    assert [each["total_requests"] for each in measured(one, rows, [], Prices(), {})] == [8]


def test_a_window_without_requests_tells_what_its_replicas_cost() -> None:
    asked = Asked("digits", 0, 180, 60)
    found = measured(asked, [], [Run(1, 30.0, 90.0, 1.0, 0.0)], Prices(cpu=3_600.0), {})
    assert [(each["replica_seconds"], each["estimated_cost"]) for each in found] == [(30.0, 30.0), (30.0, 30.0)]
    assert [each["error_rate"] for each in found] == [None, None]
    (free,) = measured(Asked("digits", 0, 60, 60), [], [Run(1, 30.0, 90.0, 1.0, 0.0)], Prices(), {})
    assert free["estimated_cost"] is None
