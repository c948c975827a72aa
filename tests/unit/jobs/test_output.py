"""Given pieces of output, when they come late, twice, cut or wrong, then each byte is stored once, in its place."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.process.settings import Settings
from events.streams.stream import Unusable
from services.jobs.output.pieces import HELD, OVERHEAD, WAIT, Chunk, Part, Piece, give_up, read_piece, take
from services.jobs.output.stream import OutputStream

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
    key: bytes | None = b"job"
    extra: dict[str, Any] = field(default_factory=dict)


def headers(**changes: str | None) -> list[tuple[str, bytes]]:
    given = {"job": "job", "task": "0", "attempt": "1", "stream": "stdout", "offset": "10", **changes}
    return [(name, value.encode()) for name, value in given.items() if value is not None]


def piece(offset: int, data: bytes, eof: bool = False, **more: Any) -> Piece:
    return Piece(KEY, offset, offset, data, NOW, eof, **more)


def came(part: Part, one: Piece, most: int = 1 << 30) -> list[Chunk]:
    return take(part, one, most, 0.0)


def text_of(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


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
        ({"job": ""}, "job is not the id of a job"),
        ({"job": "a\x00b"}, "job is not the id of a job"),
        ({"job": "j" * 129}, "job is not the id of a job"),
        ({"job": "job\n"}, "job is not the id of a job"),
        ({"offset": str(1 << 60)}, "offset is out of range"),
        ({"missing": str(1 << 60)}, "missing is out of range"),
    ],
)
def test_a_record_that_names_no_stream_says_why(changes: dict[str, str | None], words: str) -> None:
    with pytest.raises(Unusable, match=words):
        read_piece(Record(headers(**changes)))


@pytest.mark.parametrize("key", [None, b"", b"jobs", b"\xff"])
def test_a_piece_whose_key_is_not_its_job_lies_where_none_of_that_job_does(key: bytes | None) -> None:
    with pytest.raises(Unusable, match="its key is not its header job"):
        read_piece(Record(headers(), key=key))


def test_what_was_lost_is_logged_when_it_is_stored(caplog: pytest.LogCaptureFixture) -> None:
    """A transaction that is undone has lost nothing, and is tried again."""
    stream, part = OutputStream(), Part()
    stream.configure(Settings.model_construct(output_bytes=1 << 30))
    assert stream.take(part, piece(4, b"late"), 0.0) == []
    chunks = stream.overdue(part, 20.0)
    assert not caplog.records
    stream.stored(chunks)
    assert [record.getMessage() for record in caplog.records] == [f"{KEY}: 4 bytes were lost on the way"]


def test_null_headers_and_impossible_times_are_no_output() -> None:
    with pytest.raises(Unusable, match="not the id of a job"):
        read_piece(Record([*headers(), ("job", None)]))  # type: ignore[list-item]
    with pytest.raises(Unusable, match="no time"):
        read_piece(Record(headers(), timestamp=(1 << 63) - 1))


def test_a_repeat_is_nothing_and_an_overlap_only_what_is_new() -> None:
    part = Part()
    assert came(part, piece(0, b"hello"))
    assert not came(part, piece(0, b"hello"))
    (chunk,) = came(part, piece(3, b"lo world"))
    assert (chunk.offset, chunk.data, part.size) == (5, b" world", 11)


def test_an_end_is_told_once_with_or_without_data() -> None:
    part = Part()
    (chunk,) = came(part, piece(0, b"", eof=True))
    assert chunk.eof
    assert not came(part, piece(0, b"", eof=True))


def test_what_exceeds_the_limit_is_dropped_and_said() -> None:
    part = Part()
    (chunk,) = came(part, piece(0, b"x" * 8), most=5)
    assert (chunk.data, chunk.truncated) == (b"xxxxx", True)
    assert not came(part, piece(8, b"more"), most=5)
    (end,) = came(part, piece(12, b"", eof=True), most=5)
    assert (end.eof, end.missing) == (True, 7)


def test_an_agent_s_cut_is_said_when_it_begins_and_counted_at_the_end() -> None:
    part = Part()
    came(part, piece(0, b"kept"))
    (begun,) = came(part, piece(4, b"", truncated=True))
    assert (begun.truncated, begun.missing) == (True, 0)
    (end,) = came(part, piece(4, b"", eof=True, truncated=True, missing=1000))
    assert (end.eof, end.missing) == (True, 1000)


def test_what_came_ahead_is_read_behind_what_it_was_ahead_of() -> None:
    part = Part()
    came(part, piece(0, b"one "))
    assert not came(part, piece(8, b"three", eof=True))
    assert not came(part, piece(8, b"three", eof=True))
    assert [held.arrival for held in part.held] == [8]
    chunks = came(part, piece(4, b"two "))
    assert (text_of(chunks), [chunk.eof for chunk in chunks]) == (b"two three", [False, True])
    assert not part.held


def test_what_never_came_is_a_gap_that_says_its_size() -> None:
    part = Part()
    came(part, piece(0, b"one "))
    came(part, piece(8, b"three"))
    chunks = give_up(part, 1 << 30, 1.0)
    assert [(chunk.offset, chunk.data, chunk.missing) for chunk in chunks] == [(8, b"three", 4)]
    assert not came(part, piece(4, b"two "))  # too late


def test_what_is_missing_is_waited_for_from_the_moment_at_which_its_part_came_to_it() -> None:
    """Not from when a piece came that is no longer held."""
    part = Part()
    assert not take(part, piece(4, b"2nd "), 1 << 30, 100.0)
    assert not take(part, piece(12, b"last"), 1 << 30, 109.0)
    assert OutputStream().due(part) == 100.0 + WAIT
    assert text_of(take(part, piece(0, b"1st "), 1 << 30, 109.5)) == b"1st 2nd "
    assert OutputStream().due(part) == 109.5 + WAIT
    assert not take(part, piece(0, b"1st "), 1 << 30, 115.0)  # a repeat changes nothing
    assert OutputStream().due(part) == 109.5 + WAIT
    assert text_of(take(part, piece(8, b"3rd "), 1 << 30, 118.0)) == b"3rd last"
    assert OutputStream().due(part) is None


def test_no_more_than_a_bound_is_held() -> None:
    part = Part()
    chunks: list[Chunk] = []
    for number in range(HELD // (64 << 10) + 1):
        chunks += came(part, piece(1 + number * (64 << 10), b"x" * (64 << 10)))
    assert (chunks[0].offset, chunks[0].missing) == (1, 1)
    assert not part.held


def test_empty_pieces_that_are_ahead_are_bounded_too() -> None:
    part = Part()
    chunks: list[Chunk] = []
    for number in range(3 * HELD // OVERHEAD):
        chunks += came(part, piece(2 + 2 * number, b""))
    assert len(part.held) <= HELD // OVERHEAD
    assert part.weight == OVERHEAD * len(part.held)
    assert sum(chunk.missing for chunk in chunks) == part.size == part.missing


def test_an_empty_piece_that_is_given_up_says_what_is_missing() -> None:
    part = Part()
    assert not came(part, piece(5, b""))
    (chunk,) = give_up(part, 1 << 30, 1.0)
    assert (chunk.offset, chunk.data, chunk.missing, part.size, part.missing) == (5, b"", 5, 5, 5)


def test_what_is_missing_of_an_attempt_fits_into_64_bits_whatever_the_headers_say() -> None:
    most = (1 << 60) - 1
    parts = [Part(), Part()]
    for part in parts:
        came(part, piece(most, b"x"), most=1 << 62)
        give_up(part, 1 << 62, 1.0)
        came(part, piece(most, b"xxx", eof=True, missing=most))
    assert sum(part.missing for part in parts) < 1 << 63


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8), st.randoms(use_true_random=False))
def test_in_any_order_and_however_often_the_stream_is_what_was_printed(
    text: bytes, cuts: list[int], chance: Any
) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    pieces = [piece(start, text[start:end]) for start, end in itertools.pairwise(places)]
    pieces += chance.choices(pieces, k=len(pieces)) if pieces else []
    pieces.append(piece(len(text), b"", eof=True))
    chance.shuffle(pieces)
    part, chunks = Part(), []
    for each in pieces:
        chunks += came(part, each)
    assert (text_of(chunks), part.eof, part.held) == (text, True, [])
    assert not any(chunk.missing for chunk in chunks)
