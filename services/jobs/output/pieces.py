"""Assembles pieces of tasks' output, which may come repeated, late or out of order. Pure.

The output of a task's attempt has two parts, stdout and stderr.

Pieces come out of order if a send to Kafka has failed and an earlier one of the same producer arrived later. A piece
that is ahead of its part is held until the bytes before it have come. After `WAIT` seconds in which the part does not
grow, or with more than `HELD` bytes held, the missing bytes count as lost: the part continues behind them, and the next
chunk says how many bytes are missing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from events.language.common import is_identifier, shown
from events.streams.stream import Unusable

PARTS = ("stdout", "stderr")

WAIT = 10.0
"""Seconds to wait for missing bytes."""
HELD = 4 << 20
"""Most bytes of one part that are held."""
OVERHEAD = 4096
"""Bytes that a held piece counts in addition to its data, so that the number of empty pieces is bounded too."""
MOST = 1 << 60
"""Bound of byte counts, so that a task's attempts and their sum fit into the 64 bits of a table."""

PartKey = tuple[str, int, int, int]
"""Job, task, attempt, index into `PARTS`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of output as it arrived."""

    key: PartKey
    arrival: int
    """Its offset in Kafka: a job's pieces are all in one partition."""
    offset: int
    data: bytes
    at: datetime
    eof: bool
    truncated: bool = False
    """Whether its agent drops the output from here on."""
    missing: int = 0
    """With `eof`: the number of bytes that were dropped."""

    @property
    def end(self) -> int:
        return self.offset + len(self.data)

    @property
    def weight(self) -> int:
        """Bytes that it counts while it is held."""
        return len(self.data) + OVERHEAD


@dataclass(slots=True)
class Part:
    """How much of a part is stored, and what is held."""

    size: int = 0
    eof: bool = False
    truncated: bool = False
    missing: int = 0
    """Bytes that are not stored: lost, or beyond the limit."""
    held: list[Piece] = field(default_factory=list)
    """Pieces ahead of `size`, by offset."""
    weight: int = 0
    """Bytes of all held pieces."""
    since: float = 0.0
    """When the first of them came, or when the part last grew, whichever was later (monotonic seconds)."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored piece, or the new part of one."""

    key: PartKey
    offset: int
    data: bytes
    at: datetime
    eof: bool
    truncated: bool = False
    missing: int = 0
    """Bytes that are lost before `data`, or were cut at the end of the part."""
    lost: int = field(default=0, compare=False)
    """How many of those did not come in time. They are logged; there is no separate column for them."""


def read_piece(record: Any) -> Piece:
    """A Kafka record as a piece of output; its key is the job. Raises Unusable."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    try:
        key = (headers["job"], int(headers["task"]), int(headers["attempt"]), PARTS.index(headers["stream"]))
        offset, missing = int(headers["offset"]), int(headers.get("missing", "0"))
    except KeyError as error:
        raise Unusable(f"header {error} is missing") from None
    except ValueError as error:
        raise Unusable(f"a header is malformed: {error}") from None
    if not is_identifier(key[0]):
        raise Unusable(f"header job is not the id of a job: {shown(key[0])}")
    if (record.key or b"") != key[0].encode():  # all pieces of a job must be in one partition
        raise Unusable(f"its key is not its header job, {shown(key[0])}")
    for name, number, most in (
        ("task", key[1], 1 << 31),
        ("attempt", key[2], 1 << 31),
        ("offset", offset, MOST),
        ("missing", missing, MOST),
    ):
        if not 0 <= number < most:
            raise Unusable(f"header {name} is out of range: {shown(number)} is not from 0 to {most - 1}")
    try:
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except (ValueError, OverflowError):
        raise Unusable(f"its timestamp, {record.timestamp} ms, is no time") from None
    eof, truncated = headers.get("eof") == "1", headers.get("truncated") == "1"
    return Piece(key, record.offset, offset, record.value or b"", at, eof, truncated, missing)


def take(part: Part, piece: Piece, most: int, now: float) -> list[Chunk]:
    """Take a piece. Returns the chunks to store, in the order of reading; none if it is a repeat or is held. `most`:
    bytes kept of the part."""
    if piece.offset > part.size and piece.offset <= most and not part.truncated:
        _hold(part, piece, now)
        return give_up(part, most, now) if part.weight > HELD else []
    size, chunks = part.size, _store(part, piece, most) + _release(part, most)
    if part.size > size:
        part.since = now
    return chunks


def give_up(part: Part, most: int, now: float) -> list[Chunk]:
    """Count the bytes before the first held piece as lost. Returns the chunks to store."""
    if not part.held:
        return []
    first = _pop(part)
    gap = first.offset - part.size
    part.size = first.offset
    part.missing += gap
    part.since = now
    # The chunk reports missing bytes even if no data of the piece is to be stored.
    chunks = _store(part, first, most) or [Chunk(first.key, first.offset, b"", first.at, False)]
    chunks[0] = replace(chunks[0], missing=chunks[0].missing + gap, lost=gap)
    return chunks + _release(part, most)


def _hold(part: Part, piece: Piece, now: float) -> None:
    if not part.held:
        part.since = now
    index = bisect_left(part.held, piece.offset, key=_offset)
    while index < len(part.held) and (held := part.held[index]).offset == piece.offset:
        if held.end >= piece.end and held.eof >= piece.eof:
            return  # a repeat
        index += 1
    insort(part.held, piece, key=lambda held: (held.offset, held.eof))
    part.weight += piece.weight


def _offset(piece: Piece) -> int:
    return piece.offset


def _pop(part: Part) -> Piece:
    """Remove and return the first held piece."""
    first = part.held.pop(0)
    part.weight -= first.weight
    return first


def _release(part: Part, most: int) -> list[Chunk]:
    chunks: list[Chunk] = []
    while part.held and part.held[0].offset <= part.size:
        chunks += _store(part, _pop(part), most)
    return chunks


def _store(part: Part, piece: Piece, most: int) -> list[Chunk]:
    offset, data = piece.offset, piece.data
    if offset < part.size:
        data = data[part.size - offset :]
        offset = part.size
    room = max(0, most - offset)
    cut = (len(data) > room or piece.truncated) and not part.truncated
    over = max(0, piece.end - max(most, part.size)) if piece.eof else 0
    data = data[:room]
    ends = piece.eof and not part.eof
    if not data and not ends and not cut:
        return []
    part.size = max(part.size, offset + len(data))
    part.eof |= piece.eof
    part.truncated |= cut
    missing = piece.missing + over if ends else 0
    part.missing += missing
    return [Chunk(piece.key, offset, data, piece.at, ends, cut, missing)]
