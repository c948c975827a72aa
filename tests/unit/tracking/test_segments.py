"""Points in files: what is written is read, whatever cuts the writing off."""

from __future__ import annotations

import math
import mmap
import struct
import tempfile
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgelog.tracking.segments import HEADER, MAGIC, Full, Point, Reader, Writer
from tests.unit.tracking.inputs import calls_of

KEYS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=8)
NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | st.booleans()
INT64 = st.integers(-(2**63), 2**63 - 1)
CALLS = st.lists(st.tuples(INT64, INT64, st.dictionaries(KEYS, NUMBERS, min_size=1, max_size=40)), max_size=8)


def read(path: Path) -> list[list[Point]]:
    reader = Reader(path)
    try:
        return calls_of(reader)
    finally:
        reader.close()


@settings(max_examples=40)
@given(CALLS)
def test_what_is_written_is_read(calls: list[tuple[int, int, dict[str, float]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "points")
        writer = Writer(path, 1 << 16)
        for step, time, values in calls:
            writer.add(step, time, values)
        expected = [
            [Point((key, "", ""), step, time, float(value)) for key, value in values.items()]
            for step, time, values in calls
        ]
        assert read(path) == expected
        writer.end()
        reader = Reader(path)
        assert calls_of(reader) == expected
        assert reader.ended
        reader.close()


def test_nan_and_infinities_are_kept(tmp_path: Path) -> None:
    Writer(tmp_path / "p", 4096).add(1, 2, {"a": math.nan, "b": math.inf, "c": -math.inf})
    assert str([point.value for point in read(tmp_path / "p")[0]]) == "[nan, inf, -inf]"


def test_a_series_may_have_a_model_and_a_data_set(tmp_path: Path) -> None:
    Writer(tmp_path / "p", 4096).add(1, 2, {("loss", "m-1", "test"): 0.5})
    assert read(tmp_path / "p") == [[Point(("loss", "m-1", "test"), 1, 2, 0.5)]]


def test_of_a_file_that_is_cut_anywhere_the_calls_before_the_cut_are_read(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "whole", 500)
    for step in range(5):
        writer.add(step, 7, {"loss": step, f"own {step}": 1.0})
    writer.end()
    whole, data = read(tmp_path / "whole"), (tmp_path / "whole").read_bytes()
    lengths = set()
    for cut in range(HEADER, len(data)):
        (tmp_path / "cut").write_bytes(data[:cut] + bytes(len(data) - cut))
        found = read(tmp_path / "cut")
        assert found == whole[: len(found)]
        lengths.add(len(found))
    assert lengths == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("place", range(HEADER, HEADER + 60, 7))
def test_a_changed_byte_ends_what_is_read(tmp_path: Path, place: int) -> None:
    Writer(tmp_path / "p", 1024).add(1, 2, {"loss": 0.5})
    data = bytearray((tmp_path / "p").read_bytes())
    written = len(data.rstrip(b"\0"))
    data[place] ^= 1
    (tmp_path / "p").write_bytes(data)
    assert read(tmp_path / "p") == ([] if place < written else [[Point(("loss", "", ""), 1, 2, 0.5)]])


def test_a_reader_sees_what_comes_and_another_goes_on_where_it_was(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "p", 4096)
    first = Reader(tmp_path / "p")
    assert calls_of(first) == []
    writer.add(1, 2, {"loss": 0.5})
    assert len(calls_of(first)) == 1
    assert calls_of(first) == []
    writer.add(2, 2, {"loss": 0.25, "other": 1})
    second = Reader(tmp_path / "p")
    second.skip_to(first.at)
    assert calls_of(second) == calls_of(first) != []


def test_what_has_no_room_is_not_there_in_part(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "p", 240)
    writer.add(1, 2, {"a": 0.5})
    with pytest.raises(Full):
        writer.add(2, 2, {f"long key {number}": 0.5 for number in range(5)})
    writer.add(3, 2, {"a": 0.5})
    writer.count_dropped(5)
    writer.end()
    reader = Reader(tmp_path / "p")
    assert [point.step for (point,) in calls_of(reader)] == [1, 3]
    assert (reader.ended, reader.dropped) == (True, 5)


@pytest.mark.parametrize("value", ["0.5", None, 1j, [], 10**400])
def test_what_is_no_number_is_refused_and_leaves_nothing(tmp_path: Path, value: object) -> None:
    writer = Writer(tmp_path / "p", 4096)
    with pytest.raises((struct.error, TypeError, OverflowError)):
        writer.add(1, 2, {"a": value})
    writer.add(2, 2, {"a": 1})
    assert read(tmp_path / "p") == [[Point(("a", "", ""), 2, 2, 1.0)]]


class Interrupted(mmap.mmap):
    """A map whose writing is interrupted by a signal's handler: before it, or after."""

    after: bool

    def __setitem__(self, place: Any, data: Any) -> None:
        if self.after:
            super().__setitem__(place, data)
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_between_two_steps_of_a_write_leaves_a_file_that_can_be_read(tmp_path: Path, after: bool) -> None:
    writer = Writer(tmp_path / "p", 4096)
    writer.add(1, 2, {"a": 1})
    plain = writer._map
    with open(tmp_path / "p", "r+b") as file:
        writer._map = Interrupted(file.fileno(), 4096)
    writer._map.after = after
    with pytest.raises(KeyboardInterrupt):
        writer.add(2, 2, {"a": 2})
    writer._map = plain
    writer.add(3, 2, {"a": 3})
    assert [point.step for (point,) in read(tmp_path / "p")] == ([1, 2, 3] if after else [1, 3])


def test_a_file_is_its_users_alone_and_is_never_another_one(tmp_path: Path) -> None:
    Writer(tmp_path / "p", 4096)
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        Writer(tmp_path / "p", 4096)
    (tmp_path / "link").symlink_to(tmp_path / "p")
    with pytest.raises(OSError):
        Reader(tmp_path / "link")
    (tmp_path / "other").write_bytes(b"something else entirely")
    with pytest.raises(ValueError, match="no file of points"):
        Reader(tmp_path / "other")


def test_a_file_that_somebody_made_up_does_no_harm(tmp_path: Path) -> None:
    body = struct.pack("<HHqq", 1, 1, 1, 2) + struct.pack("<Id", 7, 0.5)  # a series that was never told
    (tmp_path / "p").write_bytes(MAGIC + bytes(8) + struct.pack("<I", crc32(body)) + body + bytes(64))
    assert read(tmp_path / "p") == []
