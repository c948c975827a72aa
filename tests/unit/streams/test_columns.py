"""Columns hold the points of a plain set in order, however they are given, merged, cut, packed and read back."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.streams.columns import (
    Columns,
    Malformed,
    columns,
    common,
    cut,
    decode,
    digest,
    encode,
    from_bytes,
    merge,
    without,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
FEW = st.integers(-3, 3)
"""Numbers with many equal ones."""
VALUES = st.one_of(st.floats(), st.sampled_from([math.nan, -math.nan, 0.0, -0.0, math.inf, 1.0]))
POINTS = st.lists(st.tuples(st.one_of(FEW, INT64), st.one_of(FEW, INT64), VALUES), max_size=40)


def bits(value: float) -> bytes:
    """What a value is compared by: NaNs are one."""
    return b"nan" if math.isnan(value) else struct.pack(">d", value)


def plain(points: Any) -> list[tuple[int, int, bytes]]:
    """Distinct points, by step, time and value."""
    found = {(step, time, bits(value)): value for step, time, value in points}
    # -0.0 stands before 0.0, and NaN behind all
    return sorted(found, key=lambda key: (*key[:2], key[2] == b"nan", found[key], math.copysign(1, found[key])))


def of(points: list[tuple[int, int, float]]) -> Columns:
    return columns(*([point[n] for point in points] for n in range(3)))


def listed(part: Columns) -> list[tuple[int, int, bytes]]:
    return [(step, time, bits(value)) for step, time, value in part]


@given(POINTS, POINTS)
def test_what_is_in_both_and_what_is_not_is_told_apart(one: list[Any], other: list[Any]) -> None:
    known = {(step, time, bits(value)) for step, time, value in other}
    assert listed(common(of(one), of(other))) == [point for point in plain(one) if point in known]
    assert listed(without(of(one), of(other))) == [point for point in plain(one) if point not in known]


@given(POINTS)
def test_columns_are_the_distinct_points_in_order(points: list[Any]) -> None:
    assert listed(of(points)) == plain(points)


@given(POINTS)
def test_what_was_packed_is_read_back(points: list[Any]) -> None:
    assert listed(decode(encode(of(points)))) == plain(points)


@given(st.lists(POINTS, max_size=4))
def test_merging_is_the_union(parts: list[list[Any]]) -> None:
    assert listed(merge(map(of, parts))) == plain(point for part in parts for point in part)


@given(POINTS, POINTS)
def test_what_others_have_too_is_told_from_what_they_have_not(points: list[Any], others: list[Any]) -> None:
    have = set(plain(others))
    assert listed(without(of(points), of(others))) == [point for point in plain(points) if point not in have]
    assert listed(common(of(points), of(others))) == [point for point in plain(points) if point in have]


@given(POINTS, st.integers(1, 9))
def test_pieces_are_the_whole(points: list[Any], most: int) -> None:
    pieces = [listed(piece) for piece in cut(of(points), most)]
    assert [point for piece in pieces for point in piece] == plain(points)
    assert all(len(piece) <= most for piece in pieces)


@given(POINTS, FEW, FEW)
def test_between_two_steps_are_the_points_of_these_steps(points: list[Any], first: int, last: int) -> None:
    assert listed(of(points).between(first, last)) == [point for point in plain(points) if first <= point[0] <= last]


@given(POINTS, st.lists(POINTS, max_size=4), st.integers(1, 9))
def test_a_digest_does_not_depend_on_how_points_are_cut(points: list[Any], parts: list[list[Any]], most: int) -> None:
    whole = [*points, *(point for part in parts for point in part)]
    other = sorted((of(part) for part in [points, *parts] if part), key=lambda part: part.point(0).step)
    assert digest([of(whole)]) == digest(cut(of(whole), most)) == digest(other)
    assert digest([of(whole)])[0] == len(plain(whole))


@given(POINTS.filter(bool))
def test_a_summary_tells_the_extremes(points: list[Any]) -> None:
    whole = plain(points)
    found = of(points).summary()
    numbers = [value for _, _, value in of(points) if not math.isnan(value)]
    assert (found.count, found.nans) == (len(whole), len(whole) - len(numbers))
    assert (found.first_step, found.last_step) == (whole[0][0], whole[-1][0])
    assert (found.first_time, found.last_time) == (min(p[1] for p in whole), max(p[1] for p in whole))
    assert (found.low, found.high) == ((min(numbers), max(numbers)) if numbers else (None, None))


@given(POINTS.filter(bool))
def test_the_last_point_compares_as_the_order_does(points: list[Any]) -> None:
    part = of(points)
    ranked = [part.point(index) for index in range(len(part))]
    assert ranked == sorted(set(ranked))
    assert part.point(-1) == ranked[-1]


def test_columns_come_as_little_endian_bytes() -> None:
    part = from_bytes(struct.pack("<2q", 2, 1), struct.pack("<2q", 20, 10), struct.pack("<2d", 0.5, -1.5))
    assert [*part] == [(1, 10, -1.5), (2, 20, 0.5)]


@pytest.mark.parametrize(
    ("steps", "times", "values", "problem"),
    [
        (b"1234567", b"", b"", "steps: 7 bytes"),
        (b"", b"x", b"", "times: 1 bytes"),
        (b"", b"", bytes(9), "values: 9 bytes"),
        (bytes(8), bytes(16), bytes(8), "1 steps, 2 times, 1 values"),
    ],
)
def test_bytes_that_are_no_columns_are_refused(steps: bytes, times: bytes, values: bytes, problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        from_bytes(steps, times, values)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [([1.5], "steps"), ([2**63], "steps"), ([2**70], "steps"), (["1"], "steps"), ([[1]], "1 steps"), ([None], "steps")],
)
def test_numbers_that_would_be_changed_are_refused(steps: list[Any], problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        columns(steps, [1], [1.0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: b"\x09" + data[1:],
        lambda data: data[:-3],
        lambda data: data[:1] + b"\xff\xff\xff\xff" + data[5:],
        lambda data: data[:1] + struct.pack("<I", 99) + data[5:],
        lambda data: data[:1] + struct.pack("<I", 101) + data[5:],
    ],
    ids=["empty", "format", "cut", "enormous", "less", "more"],
)
def test_damaged_bytes_are_no_columns(damage: Any) -> None:
    data = encode(columns(range(100), range(100), np.random.default_rng(1).random(100)))
    with pytest.raises(Malformed):
        decode(damage(data))


def test_steps_and_times_of_a_regular_series_take_next_to_nothing() -> None:
    packed = encode(columns(range(4096), range(1_700_000_000_000, 1_700_000_409_600, 100), [0.5] * 4096))
    assert len(packed) < 200


def test_what_reads_no_columns_loads_no_numpy() -> None:
    """Agents, the command line and services that take in no points spare its memory."""
    names = [
        "events.streams.intake",
        "forgelog.cli",
        "services.gateway.__main__",
        "services.jobs.__main__",
        "services.resources.__main__",
        "services.resources.agent.__main__",
        "services.scheduling.__main__",
    ]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
