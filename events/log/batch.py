"""Batches of records in Kafka's message format 2 (KIP-98), made from records that are encoded already.

`encode` serialises a record once, for the hash chain and for the batch. In a batch, only a record's offset and its
timestamp delta depend on the other records. In C if that was compiled (see `events.log.native`), else in Python.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from aiokafka.codec import zstd_encode
from aiokafka.record.util import calc_crc32c, encode_varint

from events.log import chain, native

COMPRESS_FROM = 8_192
"""Bytes from which on a batch is compressed. The events of a batch are similar: with zstd, the submissions of ten jobs
take the space of one, on the wire, on the disk and for every reader, at 0.8 µs a record. For a small batch the delay
would outweigh the gain."""

_ZSTD = 4
HEADER = struct.Struct(">qiibIhiqqqhii")
"""A batch's header: base offset, length, leader epoch, format, CRC, attributes, last offset delta, first and maximal
timestamp, producer id and epoch, base sequence, number of records."""
BEHIND_LENGTH = 12
"""Offset of the first byte that the length counts."""
_FROM_ATTRIBUTES = 21
"""Offset of the first byte that the CRC covers."""


def _varint(value: int) -> bytes:
    made = bytearray()
    encode_varint(value, made.append)
    return bytes(made)


def _counted(text: bytes) -> bytes:
    return _varint(len(text)) + text


def pure_encode(
    previous: bytes, key: bytes, value: bytes, headers: Sequence[tuple[str, str | bytes]]
) -> tuple[bytes, bytes]:
    """The bytes that the hash chain's next digest covers, and the record's *tail*: all bytes behind its offset, without
    the last header, the hash. The header count includes it; `last_header` and its text are added once it is known."""
    given = [(name, text.encode() if isinstance(text, str) else text) for name, text in headers]
    tail = [_counted(key), _counted(value), _varint(len(headers) + 1)]
    for name, text in given:
        tail.append(_counted(name.encode()) + _counted(text))
    return previous + chain.pure_content(key, value, given), b"".join(tail)


def pure_section(tails: list[bytes], deltas: list[int]) -> bytes:
    """The records of a batch, each with its length, timestamp and offset in front."""
    made = []
    for index, (tail, delta) in enumerate(zip(tails, deltas, strict=True)):
        made.append(_counted(b"\0" + _varint(delta) + _varint(index) + tail))
    return b"".join(made)


_compiled = native.load("_records")
encode = _compiled.encode if _compiled is not None else pure_encode
section = _compiled.section if _compiled is not None else pure_section


def last_header(name: str, length: int) -> bytes:
    """The bytes in a tail before the text of a last header of that name and length."""
    return _counted(name.encode()) + _varint(length)


class Batch:
    """A batch for `AIOKafkaProducer.send_batch`, in place of aiokafka's `BatchBuilder`."""

    def __init__(self) -> None:
        self._count = 0
        self._tails: list[bytes] = []
        self._timestamps: list[int] = []
        self._size = HEADER.size
        self._state = (-1, -1, -1)
        self._built: bytes | None = None

    def extend(self, records: Sequence[Any]) -> None:
        """Add records: `tail`, `timestamp` (milliseconds since 1970) and `size` of each."""
        for tail, timestamp, size in records:
            self._tails.append(tail)
            self._timestamps.append(timestamp)
            self._size += size
        self._count += len(records)

    # Called by the producer

    def record_count(self) -> int:
        return self._count

    def size(self) -> int:
        """Bytes, not compressed, rounded up."""
        return self._size if self._built is None else len(self._built)

    def append(self, **_: Any) -> None:
        """None: `send` may not add to this batch."""

    def close(self) -> None:
        """It is always closed."""

    def closed(self) -> bool:
        return True

    def _set_producer_state(self, producer_id: int, epoch: int, sequence: int) -> None:
        self._state = (producer_id, epoch, sequence)

    def _build(self) -> bytes:
        if self._built is None:
            first = self._timestamps[0]
            records = section(self._tails, [timestamp - first for timestamp in self._timestamps])
            attributes = 0
            if len(records) >= COMPRESS_FROM:
                records, attributes = zstd_encode(records), _ZSTD
            count = self._count
            last = max(self._timestamps)
            length = HEADER.size - BEHIND_LENGTH + len(records)
            parts = (attributes, count - 1, first, last, *self._state, count)
            header = HEADER.pack(0, length, -1, 2, 0, *parts)
            covered = header[_FROM_ATTRIBUTES:] + records
            header = HEADER.pack(0, length, -1, 2, calc_crc32c(covered), *parts)
            self._built = header[:_FROM_ATTRIBUTES] + covered
            self._tails, self._timestamps = [], []
        return self._built
