"""Points with their arrivals: each once, with its first arrival, in bytes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.streams.arrived import Arrived, at_once, cut, decode, encode, merge
from events.streams.columns import Malformed, columns

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
POINTS = st.tuples(
    st.integers(-3, 3) | INT64, st.integers(0, 2) | INT64, st.sampled_from([0.0, -0.0, 1.5]) | st.floats()
)
BATCHES = st.lists(st.tuples(st.integers(0, 9), st.lists(POINTS, max_size=8)), max_size=6)


def arrived(points: list[tuple[int, int, float]], arrival: int) -> Arrived:
    steps, times, values = zip(*points, strict=True) if points else ((), (), ())
    return at_once(columns(list(steps), list(times), list(values)), arrival)


def bits(value: float) -> bytes:
    return np.float64("nan").tobytes() if np.isnan(value) else np.float64(value).tobytes()


def told(part: Arrived) -> dict[tuple[int, int, bytes], int]:
    """Point → its arrival."""
    points = [(step, time, bits(value)) for step, time, value in part.columns]
    assert len({*points}) == len(points), "a point stands twice"
    return dict(zip(points, part.arrivals.tolist(), strict=True))


@given(BATCHES)
def test_merged_each_point_is_there_once_since_it_first_came(
    batches: list[tuple[int, list[tuple[int, int, float]]]],
) -> None:
    expected: dict[tuple[int, int, bytes], int] = {}
    for arrival, points in batches:
        for step, time, value in points:
            key = (step, time, bits(value))
            expected[key] = min(arrival, expected.get(key, arrival))
    merged = merge(arrived(points, arrival) for arrival, points in batches)
    assert told(merged) == expected
    order = [merged.columns.point(index) for index in range(len(merged))]
    assert order == sorted(order)


@given(BATCHES)
def test_bytes_are_the_same_points_again(batches: list[tuple[int, list[tuple[int, int, float]]]]) -> None:
    merged = merge(arrived(points, arrival) for arrival, points in batches)
    again = decode(encode(merged))
    assert told(again) == told(merged)
    assert [told(part) for part in cut(again, 3)] == [told(part) for part in cut(merged, 3)]


@given(BATCHES, st.integers(0, 9))
def test_as_of_a_time_there_is_what_had_come_by_then(
    batches: list[tuple[int, list[tuple[int, int, float]]]], time: int
) -> None:
    by = merge(arrived(points, arrival) for arrival, points in batches).by(time)
    there = merge(arrived(points, arrival) for arrival, points in batches if arrival <= time)
    assert [(step, at, bits(value)) for step, at, value in by] == [
        (step, at, bits(value)) for step, at, value in there.columns
    ]


@pytest.mark.parametrize("data", [b"", b"\x01\0\0\0\0", b"\x02\xff\xff\xff\xff", b"\x02\x01\0\0\0nonsense"])
def test_what_is_no_chunk_is_told(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)
