"""Pieces of tasks' output put together to streams, however often, late or out of order they come. Pure.

Pieces come out of order when a send to Kafka has failed and an earlier one of the same producer came through later. A
piece that is ahead of its stream is held until what lies before it has come. After `WAIT` seconds, or with more than
`HELD` bytes held, what is missing is taken for lost: the stream goes on behind it, and the chunk there says how many
bytes are missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

STREAMS = ("stdout", "stderr")

WAIT = 10.0
"""Seconds that missing bytes are waited for."""
HELD = 4 << 20
"""Bytes of one stream that are held at most."""

StreamKey = tuple[str, int, int, int]
"""Job, task, attempt, index into `STREAMS`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of output as it arrived."""

    key: StreamKey
    arrival: int
    """Its offset in Kafka: a job's pieces are all in one partition."""
    offset: int
    data: bytes
    at: datetime
    eof: bool
    truncated: bool = False
    """Its agent does not keep what was printed from here on."""
    missing: int = 0
    """With `eof`: how many bytes that were."""

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(slots=True)
class Stream:
    """How much of a stream is stored, and what is held."""

    size: int = 0
    eof: bool = False
    truncated: bool = False
    missing: int = 0
    """Bytes that are not stored: lost, or beyond the limit."""
    held: list[Piece] = field(default_factory=list)
    """Pieces ahead of `size`, by offset."""
    since: float = 0.0
    """When the first of them came (monotonic seconds)."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece, or what was new of it, as stored."""

    key: StreamKey
    offset: int
    data: bytes
    at: datetime
    eof: bool
    truncated: bool = False
    missing: int = 0
    """Bytes that are lost before `data`, or that were cut at the stream's end."""


class Unusable(Exception):
    """A record that is no piece of output; the text says why."""


def read_piece(record: Any) -> Piece:
    """A Kafka record as a piece of output. Raises Unusable."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    try:
        key = (headers["job"], int(headers["task"]), int(headers["attempt"]), STREAMS.index(headers["stream"]))
        offset, missing = int(headers["offset"]), int(headers.get("missing", "0"))
    except KeyError as error:
        raise Unusable(f"header {error} is missing") from None
    except ValueError as error:
        raise Unusable(f"a header is malformed: {error}") from None
    if (
        not key[0]
        or not key[0].isprintable()
        or min(key[1], key[2], offset, missing) < 0
        or max(key[1], key[2]) >= 1 << 31
        or max(offset, missing) >= 1 << 62
    ):
        raise Unusable("a header is out of range")
    try:
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except (ValueError, OverflowError):
        raise Unusable(f"its timestamp, {record.timestamp} ms, is no time") from None
    eof, truncated = headers.get("eof") == "1", headers.get("truncated") == "1"
    return Piece(key, record.offset, offset, record.value or b"", at, eof, truncated, missing)


def take(stream: Stream, piece: Piece, most: int, now: float) -> list[Chunk]:
    """What can be stored now that the piece has come, in the order in which it is read; none if all of it was there, or
    is held. `most`: bytes kept of the stream."""
    if piece.offset > stream.size and piece.offset <= most and not stream.truncated:
        _hold(stream, piece, now)
        return give_up(stream, most, now) if sum(len(held.data) for held in stream.held) > HELD else []
    chunks = _store(stream, piece, most)
    return chunks + _release(stream, most)


def give_up(stream: Stream, most: int, now: float) -> list[Chunk]:
    """Take what is missing before the first held piece for lost."""
    if not stream.held:
        return []
    first = stream.held.pop(0)
    gap = first.offset - stream.size
    stream.size = first.offset
    stream.missing += gap
    stream.since = now
    chunks = _store(stream, first, most)
    if chunks:
        chunks[0] = replace(chunks[0], missing=chunks[0].missing + gap)
    return chunks + _release(stream, most)


def _hold(stream: Stream, piece: Piece, now: float) -> None:
    if not stream.held:
        stream.since = now
    if any(held.offset == piece.offset and held.end >= piece.end and held.eof >= piece.eof for held in stream.held):
        return
    stream.held.append(piece)
    stream.held.sort(key=lambda held: (held.offset, held.eof))


def _release(stream: Stream, most: int) -> list[Chunk]:
    chunks: list[Chunk] = []
    while stream.held and stream.held[0].offset <= stream.size:
        chunks += _store(stream, stream.held.pop(0), most)
    return chunks


def _store(stream: Stream, piece: Piece, most: int) -> list[Chunk]:
    offset, data = piece.offset, piece.data
    if offset < stream.size:
        data = data[stream.size - offset :]
        offset = stream.size
    room = max(0, most - offset)
    cut = (len(data) > room or piece.truncated) and not stream.truncated
    over = max(0, piece.end - max(most, stream.size)) if piece.eof else 0
    data = data[:room]
    ends = piece.eof and not stream.eof
    if not data and not ends and not cut:
        return []
    stream.size = max(stream.size, offset + len(data))
    stream.eof |= piece.eof
    stream.truncated |= cut
    missing = piece.missing + over if ends else 0
    stream.missing += missing
    return [Chunk(piece.key, offset, data, piece.at, ends, cut, missing)]


def held_from(streams: Iterable[Stream]) -> int | None:
    """The first offset in Kafka of what these streams of one partition hold."""
    return min((piece.arrival for stream in streams for piece in stream.held), default=None)
