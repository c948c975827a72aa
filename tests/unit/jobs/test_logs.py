"""Given pieces of output, when they come late, twice, cut or wrong, then each byte is stored once, in its place."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.logs import Piece, Stream, Unusable, read_piece, take

KEY = ("job", 0, 1, 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Record:
    """What aiokafka gives."""

    headers: list[tuple[str, bytes]]
    value: bytes | None = b"text"
    offset: int = 7
    timestamp: int = 1_767_225_600_000
    partition: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def headers(**changes: str | None) -> list[tuple[str, bytes]]:
    given = {"job": "job", "task": "0", "attempt": "1", "stream": "stdout", "offset": "10", **changes}
    return [(name, value.encode()) for name, value in given.items() if value is not None]


def piece(offset: int, data: bytes, eof: bool = False) -> Piece:
    return Piece(KEY, offset, offset, data, NOW, eof)


def test_a_record_is_read_as_a_piece() -> None:
    assert read_piece(Record(headers(eof="1"))) == Piece(KEY, 7, 10, b"text", NOW, True)
    assert read_piece(Record(headers(stream="stderr"), value=None)).data == b""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"job": None}, "'job' is missing"),
        ({"task": "x"}, "malformed"),
        ({"stream": "stdin"}, "malformed"),
        ({"offset": "-1"}, "out of range"),
        ({"attempt": str(1 << 31)}, "out of range"),
        ({"job": ""}, "out of range"),
        ({"job": "a\x00b"}, "out of range"),
        ({"offset": str(1 << 63)}, "out of range"),
    ],
)
def test_a_record_that_names_no_stream_says_why(changes: dict[str, str | None], words: str) -> None:
    with pytest.raises(Unusable, match=words):
        read_piece(Record(headers(**changes)))


def test_null_headers_and_impossible_times_are_no_output() -> None:
    with pytest.raises(Unusable, match="out of range"):
        read_piece(Record([*headers(), ("job", None)]))  # type: ignore[list-item]
    with pytest.raises(Unusable, match="no time"):
        read_piece(Record(headers(), timestamp=(1 << 63) - 1))


def test_a_repeat_is_nothing_and_an_overlap_only_what_is_new() -> None:
    stream = Stream()
    assert take(stream, piece(0, b"hello")) is not None
    assert take(stream, piece(0, b"hello")) is None
    chunk = take(stream, piece(3, b"lo world"))
    assert chunk is not None
    assert (chunk.offset, chunk.data, stream.size) == (5, b" world", 11)


def test_an_end_is_told_once_with_or_without_data() -> None:
    stream = Stream()
    chunk = take(stream, piece(0, b"", eof=True))
    assert chunk is not None
    assert chunk.eof
    assert take(stream, piece(0, b"", eof=True)) is None


def test_what_exceeds_the_limit_is_dropped_and_said() -> None:
    stream = Stream()
    chunk = take(stream, piece(0, b"x" * 8), most=5)
    assert chunk is not None
    assert (chunk.data, chunk.truncated) == (b"xxxxx", True)
    assert take(stream, piece(8, b"more"), most=5) is None
    end = take(stream, piece(12, b"", eof=True), most=5)
    assert end is not None
    assert end.eof


@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=30), st.data())
def test_whatever_is_sent_again_the_stream_is_what_was_printed(
    text: bytes, again: list[tuple[int, int]], data: st.DataObject
) -> None:
    """An agent sends in order, and after a crash again from any place before."""
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=8))})
    stream, stored, sent = Stream(), b"", 0
    for start, end in itertools.pairwise(cuts):
        pieces = [piece(start, text[start:end])]
        sent = end
        for offset, length in again:
            if offset <= sent:
                pieces.append(piece(offset, text[offset : min(sent, offset + length)]))
        for each in pieces:
            chunk = take(stream, each)
            if chunk is not None:
                assert chunk.offset == len(stored)
                stored += chunk.data
    assert stored == text[: stream.size] == (text if len(cuts) > 1 else b"")
