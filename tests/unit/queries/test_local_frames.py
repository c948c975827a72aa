"""The frames of local calls: whole however they arrive, and bytes of anybody's are refused in one way."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.queries.local import frames
from events.queries.local.frames import Failure, Malformed

KINDS = st.integers(frames.HELLO, frames.FAILED)
NUMBERS = st.integers(0, (1 << 32) - 1)
NAMES = st.text(st.characters(codec="ascii", categories=("Ll", "Nd")), min_size=1, max_size=20)
PAIRS = st.lists(st.tuples(NAMES, st.text(max_size=40)) | st.tuples(NAMES.map("{}-bin".format), st.binary(max_size=40)))


@given(st.lists(st.tuples(KINDS, NUMBERS, st.binary(max_size=60))), st.lists(st.integers(1, 30)))
def test_frames_come_whole_and_in_order_however_the_bytes_are_cut(
    sent: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    content = b"".join(frames.frame(*each) for each in sent)
    reader, at = frames.Reader(60), 0
    found: list[tuple[int, int, bytes]] = []
    for size in [*cuts, len(content)]:
        found += reader.feed(content[at : at + size])
        at += size
    assert found == sent


@given(st.lists(st.binary(max_size=40)))
def test_bytes_of_anybodys_are_frames_or_malformed(pieces: list[bytes]) -> None:
    reader = frames.Reader(1000)
    with suppress(Malformed):
        for piece in pieces:
            for _, _, body in reader.feed(piece):
                assert len(body) <= 1000


@given(st.binary(max_size=100))
def test_bodies_of_anybodys_are_read_or_malformed(body: bytes) -> None:
    for read in (frames.read_call, frames.read_failed, frames.read_metadata):
        with suppress(Malformed):
            read(body)


@given(PAIRS)
def test_metadata_comes_back(pairs: list[tuple[str, str | bytes]]) -> None:
    assert frames.read_metadata(frames.pack_metadata(pairs)) == tuple(pairs)


@given(st.integers(0, 255), st.text(max_size=50), PAIRS)
def test_a_failure_comes_back(code: int, details: str, trailing: list[tuple[str, str | bytes]]) -> None:
    failure = Failure(code, details, tuple(trailing))
    ((kind, number, body),) = frames.Reader(1 << 20).feed(frames.failed(7, failure))
    assert (kind, number, frames.read_failed(body)) == (frames.FAILED, 7, failure)


@given(st.floats(0, 1e12), st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=50))
def test_a_call_comes_back_with_a_deadline_that_fits(
    seconds: float, path: bytes, metadata: bytes, request: bytes
) -> None:
    ((_, _, body),) = frames.Reader(1000).feed(frames.call(1, seconds, path, metadata, request))
    found = frames.read_call(body)
    assert found[1:] == (path, metadata, request)
    assert found.seconds == pytest.approx(min(seconds, frames.MOST_MILLISECONDS / 1000), abs=0.002)


def test_a_large_frame_comes_whole_from_many_pieces() -> None:
    body = bytes(8 << 20)
    content = frames.frame(frames.ANSWER, 1, body)
    reader = frames.Reader(len(body))
    found = [each for at in range(0, len(content), 4096) for each in reader.feed(content[at : at + 4096])]
    assert [(kind, number, len(read)) for kind, number, read in found] == [(frames.ANSWER, 1, len(body))]
