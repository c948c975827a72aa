"""Counts and sketches of latency: their error, their bounds, and merging that knows no order."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from events.language.deployments.traffic import (
    ACCURACY,
    LEAST_BIN,
    MOST_BIN,
    LatencySketch,
    ReplicaUsage,
    RevisionTraffic,
    TrafficCounts,
    bin_of,
    latency_of,
)

LATENCIES = st.lists(st.floats(0.001, 1e7), max_size=60)


@given(st.floats(0.001, 1e8))
def test_a_bin_stands_for_its_latencies_within_one_percent(latency: float) -> None:
    assert abs(latency_of(bin_of(latency)) - latency) <= ACCURACY * latency * (1 + 1e-9)


@pytest.mark.parametrize(
    ("latency", "index"), [(0.0, LEAST_BIN), (-5.0, LEAST_BIN), (1e-300, LEAST_BIN), (1e300, MOST_BIN)]
)
def test_what_is_beyond_the_bins_counts_in_the_outermost(latency: float, index: int) -> None:
    assert bin_of(latency) == index


@given(LATENCIES, st.floats(0, 1))
def test_a_quantile_is_that_of_the_latencies_within_one_percent(latencies: list[float], share: float) -> None:
    found = LatencySketch.of_latencies(latencies).quantile(share)
    if not latencies:
        assert found is None
        return
    exact = sorted(latencies)[math.floor(share * (len(latencies) - 1))]
    assert found is not None
    assert abs(found - exact) <= ACCURACY * exact * (1 + 1e-9)


@given(st.lists(LATENCIES, max_size=5), st.randoms(use_true_random=False))
def test_merging_is_exact_in_any_order(parts: list[list[float]], random: Any) -> None:
    sketches = [LatencySketch.of_latencies(part) for part in parts]
    shuffled = [*sketches]
    random.shuffle(shuffled)
    nested = LatencySketch.merged([LatencySketch.merged(shuffled[:2]), *shuffled[2:]])
    assert LatencySketch.merged(sketches) == nested
    assert nested == LatencySketch.of_latencies([latency for part in parts for latency in part])
    assert nested.count == sum(map(len, parts))


@given(LATENCIES, LATENCIES)
def test_the_difference_of_two_reports_is_what_came_between(before: list[float], later: list[float]) -> None:
    first, last = LatencySketch.of_latencies(before), LatencySketch.of_latencies(before + later)
    assert last.since(first) == LatencySketch.of_latencies(later)


def test_the_mean_is_exact_to_the_microsecond() -> None:
    assert LatencySketch.of_latencies([1.0, 2.0, 6.001]).mean == pytest.approx(3.000333, abs=1e-6)
    assert LatencySketch().mean is None


@given(LATENCIES)
def test_a_sketch_survives_the_wire(latencies: list[float]) -> None:
    sketch = LatencySketch.of_latencies(latencies)
    assert LatencySketch.model_validate_json(sketch.to_json()) == sketch


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"bins": (1, 2), "counts": (1,)}, "bins has 2 entries and counts 1"),
        ({"bins": (2, 1), "counts": (1, 1)}, "not in ascending order"),
        ({"bins": (1, 1), "counts": (1, 1)}, "without repeats"),
        ({"bins": (1,), "counts": (0,)}, "greater than or equal to 1"),
        ({"bins": (MOST_BIN + 1,), "counts": (1,)}, "less than or equal"),
    ],
)
def test_a_sketch_that_can_not_be_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        LatencySketch(**fields)


def test_counts_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="failures is 3 and requests 2"):
        RevisionTraffic(revision=1, requests=2, failures=3)
    with pytest.raises(ValidationError, match="names a revision twice"):
        TrafficCounts(incarnation="a", seconds=1, revisions=(RevisionTraffic(revision=1), RevisionTraffic(revision=1)))


def test_use_without_a_value_differs_from_no_use() -> None:
    assert ReplicaUsage(replica_id="dep.a.1.1").gpu_percent is None
    with pytest.raises(ValidationError):
        ReplicaUsage(replica_id="dep.a.1.1", gpu_percent=101)
