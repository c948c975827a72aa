"""Points of runs, without servers: batches, tallies, heads, chunks and curves."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.common import Refused
from events.language.experiments.points import MAX_BATCH_BYTES, MAX_SERIES, SeriesName, batch_of, check_batch
from events.log.wire import Raw
from events.streams.arrived import Arrived, at_once, merge
from events.streams.columns import Columns, columns
from events.streams.stream import Unusable
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from services.experiments.points.chunks import Small, to_merge
from services.experiments.points.curves import between, merged, reduce
from services.experiments.points.heads import decode_head, encode_head
from services.experiments.points.pieces import Piece, read_piece
from services.experiments.points.stream import PointStream, Run, Series
from services.experiments.points.tally import Tally, tally, total

NAN = float("nan")
LOSS = SeriesName("loss", "", "")
POINT = st.tuples(st.integers(-50, 50), st.integers(0, 5), st.integers(-9, 9).map(float) | st.floats())


def series(key: str = "loss", points: Any = ((1, 10, 0.5),), **more: str) -> dict[str, Any]:
    steps, times, values = (list(column) for column in zip(*points, strict=True))
    return {"key": key, "steps": steps, "times": times, "values": values, **more}


def batch(*listed: dict[str, Any], run_id: str = "r1") -> Any:
    return batch_of({"run_id": run_id, "series": list(listed)}, PointBatch)


def checked(made: Any) -> int:
    return check_batch(made, made.ByteSize())


def cols(points: Any) -> Columns:
    steps, times, values = zip(*points, strict=True) if points else ((), (), ())
    return columns(list(steps), list(times), list(values))


def arrived(points: Any, arrival: int = 0) -> Arrived:
    return at_once(cols(points), arrival)


# Batches


def test_a_batch_of_json_has_the_numbers_of_its_message() -> None:
    made = batch(series("a/b #é", [(-1, 10, 0.5), (2, 20, 3)], dataset="test set", model_id="m-1"))
    assert checked(made) == 2
    (one,) = made.series
    assert (one.key, one.dataset, one.model_id) == ("a/b #é", "test set", "m-1")
    assert struct.unpack("<2q", one.steps) == (-1, 2)
    assert struct.unpack("<2d", one.values) == (0.5, 3.0)


@pytest.mark.parametrize(
    "key", ["a/b", "val loss", "größe", "#1", "x" * 250, "👩\u200d💻", "训练", "..", "a=b", "ä" * 250]
)
def test_odd_keys_are_fine_as_a_message_and_as_json(key: str) -> None:
    made = batch(series(key, dataset=key))
    assert checked(made) == 1
    assert checked(PointBatch.FromString(made.SerializeToString())) == 1
    assert read_piece(record(made.SerializeToString())).series.keys() == {SeriesName(key, "", key)}


@pytest.mark.parametrize("key", ["", " ", "x" * 251, "a\nb", "a\x7f", "a\0"])
def test_keys_that_nobody_can_read_are_refused_as_a_message_and_as_json(key: str) -> None:
    made = PointBatch(run_id="r1", series=[{"key": key, "steps": bytes(8), "times": bytes(8), "values": bytes(8)}])
    for check in (lambda: checked(made), lambda: checked(batch(series(key)))):
        with pytest.raises(Refused) as caught:
            check()
        assert caught.value.errors[0].field == "series[0].key"
        assert caught.value.errors[0].hint


def test_numbers_that_json_has_not_are_words() -> None:
    made = batch(series(points=[(1, 1, "NaN"), (2, 2, "Infinity"), (3, 3, "-Infinity"), (4, 4, 0.5)]))
    values = struct.unpack("<4d", made.series[0].values)
    assert math.isnan(values[0])
    assert values[1:] == (math.inf, -math.inf, 0.5)


@pytest.mark.parametrize(
    ("listed", "field", "problem"),
    [
        ([series(key="")], "series[0].key", "is missing"),
        ([series(), series(key="x" * 251)], "series[1].key", "has 251 characters"),
        ([series(dataset="x" * 251)], "series[0].dataset", "has 251 characters"),
        ([series(model_id="No Model")], "series[0].model_id", "is no id of a model"),
        ([{**series(), "steps": [1, 2]}], "series[0]", "has 2 steps, 1 times, 1 values"),
        ([series(points=[(step, 0, 0.0) for step in range(10_001)])], "series", "have 10001 points"),
        ([series(points=[(0, 1_778_301_120_000_000_000, 0.0)])], "series[0].times", "is no time"),
        ([], "series", "have no points"),
    ],
)
def test_a_limit_that_is_passed_is_named(listed: list[dict[str, Any]], field: str, problem: str) -> None:
    with pytest.raises(Refused) as caught:
        checked(batch(*listed))
    assert caught.value.errors[0].field == field
    assert problem in caught.value.errors[0].problem
    assert caught.value.errors[0].hint


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"run_id": 5, "series": []}, "run_id"),
        ({"run_id": "r1", "serie": []}, "serie"),
        ({"run_id": "r1", "series": {}}, "series"),
        ({"run_id": "r1", "series": [5]}, "series[0]"),
        ({"run_id": "r1", "series": [{**series(), "step": [1]}]}, "series[0].step"),
        ({"run_id": "r1", "series": [{**series(), "key": "a\x07"}]}, "series[0].key"),
        ({"run_id": "r1", "series": [{**series(), "key": 5}]}, "series[0].key"),
        ({"run_id": "r1", "series": [{**series(), "steps": 5}]}, "series[0].steps"),
        ({"run_id": "r1", "series": [{**series(), "steps": [0.5]}]}, "series[0].steps[0]"),
        ({"run_id": "r1", "series": [{**series(), "steps": [1 << 63]}]}, "series[0].steps[0]"),
        ({"run_id": "r1", "series": [{**series(), "steps": [True]}]}, "series[0].steps[0]"),
        ({"run_id": "r1", "series": [{**series(), "values": ["0.5"]}]}, "series[0].values[0]"),
        ({"run_id": "r1", "series": [{**series(), "values": [10**400]}]}, "series[0].values[0]"),
        ({"run_id": "r1", "series": [{**series(), "values": [None]}]}, "series[0].values[0]"),
        ([], "(body)"),
    ],
)
def test_json_that_is_no_batch_names_what_is_wrong(given: Any, field: str) -> None:
    with pytest.raises(Refused) as caught:
        batch_of(given, PointBatch)
    assert caught.value.errors[0].field == field


def test_a_batch_that_is_too_large_or_has_torn_columns_or_no_run_is_refused() -> None:
    with pytest.raises(Refused, match="the batch has 1000001 bytes"):
        check_batch(batch(series()), MAX_BATCH_BYTES + 1)
    torn = PointBatch(run_id="r1", series=[{"key": "loss", "steps": b"1234567", "times": b"", "values": b""}])
    with pytest.raises(Refused) as caught:
        checked(torn)
    assert caught.value.errors[0].field == "series[0].steps"
    with pytest.raises(Refused, match="run_id: is missing"):
        checked(batch(series(), run_id=""))
    with pytest.raises(Refused, match="is 'r2', but the path names r1"):
        batch_of({"run_id": "r2", "series": []}, PointBatch, "r1")


# Records


def record(value: bytes, key: bytes = b"r1", timestamp: int = 5) -> Raw:
    return Raw("points.experiments", 0, 0, timestamp, key, value, [])


def test_a_record_is_a_message_or_json() -> None:
    json = b'{"run_id": "r1", "series": [{"key": "loss", "steps": [2, 1], "times": [20, 10], "values": [0.25, "NaN"]}]}'
    message = batch(series(points=[(2, 20, 0.25), (1, 10, "NaN")])).SerializeToString()
    for piece in (read_piece(record(json)), read_piece(record(message))):
        assert (piece.run, piece.arrival) == ("r1", 5)
        assert str([*piece.series[LOSS]]) == "[(1, 10, nan), (2, 20, 0.25)]"


def test_a_series_that_stands_twice_in_a_record_is_one() -> None:
    made = batch(series(points=[(1, 10, 0.5)]), series(points=[(1, 10, 0.5), (2, 20, 0.25)]))
    piece = read_piece(record(made.SerializeToString()))
    assert [*piece.series[LOSS]] == [(1, 10, 0.5), (2, 20, 0.25)]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (record(b"\xff"), "it is no PointBatch"),
        (record(b""), "run_id: is missing"),
        (record(b'{"run_id": "r1"'), "neither a PointBatch nor JSON"),
        (record(b'{"run_id": "r1", "run_id": "r1", "series": []}'), "run_id"),
        (record(b"{" + b" " * MAX_BATCH_BYTES), "at most 1000000"),
        (record(batch(series()).SerializeToString(), key=b"r2"), "its key is not its run_id"),
        (record(batch(series()).SerializeToString(), timestamp=-1 << 62), "is no time"),
    ],
)
def test_what_is_no_batch_is_told(raw: Raw, problem: str) -> None:
    with pytest.raises(Unusable, match=problem):
        read_piece(raw)


def test_a_run_takes_no_more_series_than_it_may_have() -> None:
    stream, run = PointStream(), Run()
    for first in range(0, MAX_SERIES, 5_000):
        names = [SeriesName(f"m{number}", "", "") for number in range(first, first + 5_000)]
        stream.take(run, Piece("r1", dict.fromkeys(names, cols([(1, 10, 0.5)])), 0), 0.0)
    known = Piece("r1", {SeriesName("m0", "", ""): cols([(2, 20, 0.5)])}, 0)
    assert len(stream.take(run, known, 0.0)) == 1
    more = Piece("r1", {SeriesName("m0", "", ""): cols([(3, 30, 0.5)]), LOSS: cols([(1, 10, 0.5)])}, 0)
    with pytest.raises(Unusable, match="would have 10001 series"):
        stream.take(run, more, 0.0)
    assert len(run.series) == MAX_SERIES


@given(st.lists(st.lists(POINT, max_size=6), max_size=20))
def test_points_that_come_in_any_order_and_again_are_taken_once(pieces: list[list[tuple[int, int, float]]]) -> None:
    run, taken = Run(), []
    for points in pieces:
        found = PointStream().take(run, Piece("r1", {LOSS: cols(points)} if points else {}, 0), 0.0)
        taken += [_texts(each.points.columns) for each in found]
    given_once = {text for points in pieces for text in _texts(cols(points))}
    assert sorted(text for each in taken for text in each) == sorted(given_once)


def test_many_disordered_pieces_are_few_parts_to_look_at() -> None:
    series = Series()
    for number in range(1_000):
        series.note(cols([(step, number, 0.5) for step in range(0, 50, 7)]))
    assert sum(map(len, series.repeats)) == 8_000
    assert len(series.repeats) <= 13


# Tallies


def test_points_of_a_purged_run_are_dropped() -> None:
    run = Run(is_purged=True)
    assert PointStream().take(run, Piece("r1", {SeriesName("loss", "", ""): cols([(1, 10, 0.5)])}, 0), 0.0) == ()
    assert run.series == {}


@given(st.lists(st.lists(POINT, min_size=1, max_size=8), min_size=1, max_size=5))
def test_the_sum_of_tallies_is_the_tally_of_all_points(parts: list[list[tuple[int, int, float]]]) -> None:
    seen: list[Arrived] = []
    for arrival, points in enumerate(parts):
        known = {(p[0], p[1], str(p[2])) for part in seen for p in part.columns}
        new = [p for p in cols(points) if (p[0], p[1], str(p[2])) not in known]
        if new:
            seen.append(arrived(new, arrival))
    assert str(total(map(tally, seen))) == str(tally(merge(seen)))
    assert str(total(map(tally, reversed(seen)))) == str(tally(merge(seen)))


def test_a_tally_tells_the_last_value_and_the_first_extremes() -> None:
    told = tally(arrived([(1, 10, 5.0), (2, 10, 1.0), (3, 10, 5.0), (4, 10, 1.0), (5, 10, NAN)], 7))
    assert (told.count, told.nans, told.first_step, told.last_step) == (5, 1, 1, 5)
    assert (told.low, told.low_step, told.high, told.high_step) == (1.0, 2, 5.0, 1)
    assert math.isnan(told.last_value)
    none = tally(arrived([(1, 10, NAN)]))
    assert (none.low, none.high_step) == (None, None)
    assert (none + told).low == 1.0
    infinite = tally(arrived([(1, 10, NAN), (2, 10, math.inf)]))
    assert (infinite.low, infinite.high, infinite.low_step) == (math.inf, math.inf, 2)


def test_nothing_has_no_tally() -> None:
    none: list[Tally] = []
    assert total(none) is None


# Heads and chunks


@given(st.dictionaries(st.integers(1, 1 << 40), st.lists(POINT, min_size=1, max_size=5), max_size=4))
def test_a_head_has_all_series_and_gives_those_that_are_asked_for(given_: dict[int, Any]) -> None:
    parts = {number: arrived(points, number % 7) for number, points in given_.items()}
    data = encode_head(parts)
    found = decode_head(data)
    assert {number: str([*part.columns]) for number, part in found.items()} == {
        number: str([*part.columns]) for number, part in parts.items()
    }
    assert all(set(part.arrivals.tolist()) == {number % 7} for number, part in found.items())
    wanted = {*list(parts)[:1], 0}
    assert decode_head(data, wanted).keys() == wanted & parts.keys()


@given(st.lists(st.integers(1, 4096), min_size=1, max_size=300))
def test_a_series_has_few_small_chunks_and_a_point_is_seldom_written_anew(counts: list[int]) -> None:
    """Chunks are merged as `to_merge` says, with what is new."""
    small: list[int] = []
    """Sizes, the oldest first."""
    written = 0
    for count in counts:
        merging = to_merge(count, [Small(number, size) for number, size in reversed([*enumerate(small)])])
        rest = sum(each.points for each in merging) + count
        small = [size for number, size in enumerate(small) if number not in {each.id for each in merging}]
        written += rest
        if rest % 4096:
            small.append(rest % 4096)
    assert len(small) <= 13
    assert written <= 13 * sum(counts)


# Curves


@given(st.lists(POINT, max_size=300), st.integers(1, 8), st.booleans())
def test_a_curve_keeps_first_smallest_largest_and_last_of_each_pixel(
    points: list[tuple[int, int, float]], width: int, by_time: bool
) -> None:
    ordered = between(cols(points), by_time, None, None)
    axis = (ordered.times if by_time else ordered.steps).tolist()
    low, high = (axis[0], axis[-1]) if axis else (0, 0)
    drawn = [(step, time, str(value)) for step, time, value in reduce(ordered, by_time, low, high, width)]
    assert len(drawn) <= max(4 * width, len(drawn) if len(points) <= 4 * width else 0)
    pixels: dict[int, list[tuple[int, int, float]]] = {}
    for place, point in zip(axis, ordered, strict=True):
        pixels.setdefault(min(width - 1, int((place - low) * (width / (high - low + 1)))), []).append(point)
    for inside in pixels.values():
        numbers = [each for each in inside if not math.isnan(each[2])]
        kept = [inside[0], inside[-1]]
        if numbers:
            kept += [min(numbers, key=lambda each: each[2]), max(numbers, key=lambda each: each[2])]
        for step, time, value in kept:
            assert (step, time, str(value)) in drawn


@given(st.lists(POINT, max_size=200), st.integers(0, 200), st.integers(1, 6), st.booleans())
def test_a_curve_drawn_in_pieces_is_the_same(
    points: list[tuple[int, int, float]], at: int, width: int, by_time: bool
) -> None:
    whole = cols(points)
    ordered = between(whole, by_time, None, None)
    axis = ordered.times if by_time else ordered.steps
    low, high = (int(axis[0]), int(axis[-1])) if len(axis) else (0, 0)
    first, second = (between(part, by_time, None, None) for part in (whole[:at], whole[at:]))
    parts = (reduce(part, by_time, low, high, width) for part in (first, second))
    again = reduce(merged(*parts, by_time), by_time, low, high, width)
    extremes = [extreme(part) for part in (again, ordered) for extreme in (_least, _most)]
    assert extremes[:2] == extremes[2:]
    assert {*_texts(again)} <= {*_texts(ordered)}


def _texts(points: Columns) -> list[tuple[int, int, str]]:
    return [(step, time, str(value)) for step, time, value in points]


def _least(points: Columns) -> float | None:
    numbers = points.values[~np.isnan(points.values)]
    return float(numbers.min()) if len(numbers) else None


def _most(points: Columns) -> float | None:
    numbers = points.values[~np.isnan(points.values)]
    return float(numbers.max()) if len(numbers) else None


def test_the_ends_of_an_axis_are_drawn() -> None:
    ends = [-(1 << 63), 0, (1 << 63) - 1]
    points = cols([(end, 0, float(number)) for number, end in enumerate(ends)])
    assert len(reduce(points, False, ends[0], ends[-1], 1)) == 3
    many = cols([(step, 0, 0.0) for step in [*ends, *range(1, 20)]])
    assert {ends[0], ends[-1]} <= {*reduce(many, False, ends[0], ends[-1], 2).steps.tolist()}


def test_a_curve_may_be_of_a_part_of_its_axis() -> None:
    points = cols([(step, 100 - step, float(step)) for step in range(10)])
    assert between(points, False, 3, 5).steps.tolist() == [3, 4, 5]
    assert between(points, True, 95, None).steps.tolist() == [5, 4, 3, 2, 1, 0]
