"""Windows of load from routers' and agents' reports: lost, late, repeated and restarted ones among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.deployments.traffic import (
    LatencySketch,
    ReplicaTraffic,
    ReplicaUsage,
    RevisionTraffic,
    TrafficCounts,
)
from services.deployments.watching import ROUTER_LOST_SECONDS, USAGE_LOST_SECONDS, Watch


def report(seconds: float, requests: int, incarnation: str = "a", revision: int = 1, **fields: object) -> TrafficCounts:
    latency = LatencySketch.of({100: requests}, 0)
    traffic = RevisionTraffic(revision=revision, requests=requests, latency=latency)
    return TrafficCounts.model_validate(
        {"incarnation": incarnation, "seconds": seconds, "revisions": (traffic,)} | fields
    )


def watched(*reports: tuple[float, TrafficCounts], router: str = "r1", watch: Watch | None = None) -> Watch:
    watch = watch or Watch()
    for now, counts in reports:
        watch.note(router, counts, now)
    return watch


def test_a_rate_is_counts_by_the_routers_own_seconds() -> None:
    steady = watched(*((second, report(second, 50 * second)) for second in range(100)))
    assert (steady.rate(60), steady.rate(6)) == (50, 50)


def test_reports_that_come_late_together_are_no_burst() -> None:
    late = watched(*((200, report(second, 50 * second)) for second in range(100)))
    assert late.rate(6) == 50


@given(st.lists(st.booleans(), min_size=20, max_size=60))
def test_lost_reports_change_no_totals(heard: list[bool]) -> None:
    reports = [(float(second), report(second, 10 * second)) for second in range(len(heard) + 1)]
    kept = [reports[0], *(each for each, came in zip(reports[1:-1], heard, strict=False) if came), reports[-1]]
    watch = watched(*kept)
    assert watch.totals[1].requests == 10 * len(heard)
    assert watch.totals[1].sketch().count == 10 * len(heard)
    assert watch.rate(5) == pytest.approx(10)


def test_repeated_and_disordered_reports_count_once() -> None:
    watch = watched((0, report(0, 0)), (1, report(2, 20)), (2, report(1, 10)), (3, report(2, 20)), (4, report(3, 30)))
    assert watch.totals[1].requests == 30


def test_a_router_that_starts_again_counts_from_zero() -> None:
    watch = watched((0, report(0, 0)), (1, report(1, 10)), (2, report(0.5, 5, "b")), (3, report(1.5, 15, "b")))
    assert watch.totals[1].requests == 20


def test_the_first_report_says_from_where_a_watch_counts() -> None:
    assert watched((0, report(5000, 1_000_000))).totals == {}


def test_routers_add_up_and_lost_ones_do_not_count() -> None:
    watch = watched(*((second, report(second, 50 * second)) for second in range(10)))
    watched(*((second, report(second + 7, 10 * second, "z")) for second in range(30)), router="r2", watch=watch)
    assert watch.rate(5) == 60
    watch.forget_lost(9 + ROUTER_LOST_SECONDS + 1)
    assert watch.rate(5) == 10
    watch.forget_lost(1000)
    assert watch.rate(5) is None
    assert (watch.latency(0.95, 60, 1000), watch.idle_seconds(1000), watch.watched_seconds(1000)) == (None, None, 0)


def test_latency_is_of_the_window() -> None:
    slow, fast = LatencySketch.of({300: 10}, 0), LatencySketch.of({300: 10, 100: 990}, 0)
    watch = Watch(keeps_latencies=True)
    for now, requests, sketch in ((0, 0, LatencySketch()), (1, 10, slow), (70, 10, slow), (80, 1000, fast)):
        traffic = RevisionTraffic(revision=1, requests=requests, latency=sketch)
        watch.note("r1", TrafficCounts(incarnation="a", seconds=now, revisions=(traffic,)), now)
    quick = watch.latency(0.95, 10, 80)
    assert quick == pytest.approx(7.3, abs=0.1)
    assert watch.latency(0.999, 10, 80) == quick
    assert watch.latency(0.95, 5, 300) == 0


def test_a_deployment_is_idle_once_nothing_comes_and_nothing_is_in_flight() -> None:
    busy = RevisionTraffic(revision=1, requests=10, in_flight=1)
    watch = watched(
        (0, report(0, 0)), (10, report(10, 10)), (20, report(20, 10, revisions=(busy,))), (50, report(50, 10))
    )
    assert watch.idle_seconds(50) == 30
    watch.note("r1", report(60, 10, held=3), 60)
    assert (watch.idle_seconds(61), watch.held) == (1, 3)


def test_a_long_window_is_kept_in_few_points() -> None:
    watch = watched(*((second, report(second, 3 * second)) for second in range(3000)), watch=Watch(span_seconds=1200))
    assert watch.rate(1200) == pytest.approx(3)
    assert len(watch._routers["r1"].arrivals) < 150


def test_replicas_that_leave_are_at_rest_once_no_router_has_requests_there() -> None:
    leaving = (ReplicaTraffic(replica_id="dep.a.1.1", in_flight=2),)
    watch = watched((0, report(0, 0, leaving=leaving, routing=7)))
    watched((0, report(0, 0, leaving=leaving, routing=8)), router="r2", watch=watch)
    assert (watch.in_flight_at("dep.a.1.1"), watch.in_flight_at("dep.a.1.2"), sorted(watch.routings())) == (
        4,
        0,
        [7, 8],
    )


def test_use_is_of_replicas_that_are_heard_of() -> None:
    watch = Watch()
    watch.note_usage(ReplicaUsage(replica_id="dep.a.1.1", cpu_percent=50), 0)
    watch.note_usage(ReplicaUsage(replica_id="dep.a.1.2", cpu_percent=70), 30)
    assert [usage.cpu_percent for usage in watch.usage()] == [50, 70]
    watch.forget_lost(USAGE_LOST_SECONDS + 1)
    assert [usage.cpu_percent for usage in watch.usage()] == [70]
