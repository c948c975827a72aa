"""Decodes the records of a fetched batch in one pass: Kafka's message format 2 (KIP-98).

aiokafka makes four objects and a tuple of decoded headers for each record, but the log's readers need only one or two
headers of most records. `read` keeps the headers as bytes until one is requested. In C if that was compiled (see
`events.log.native`), else in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.language.bounds import MAX_ATTRIBUTE_BYTES
from events.log import native

Headers = Sequence[tuple[str, bytes]]


class PureRecord:
    """A record as read. The C helper has the same."""

    __slots__ = ("_attributes", "headers", "key", "offset", "partition", "timestamp", "topic", "value")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = tuple(headers)
        self._attributes: dict[str, bytes] | None = None

    @property
    def header_bytes(self) -> int:
        """Bytes of all headers, names included."""
        return sum(len(name.encode()) + len(value or b"") for name, value in self.headers)

    def get(self, name: str) -> bytes | None:
        """A header's bytes; None if absent. The last of that name."""
        attributes = self._attributes
        if attributes is None:
            attributes = self._attributes = dict(self.headers)
        return attributes.get(name)

    def contents(self, names: tuple[str, ...]) -> tuple[bytes | None, ...]:
        """The bytes of headers, None for those that are absent. Of several of a name, the last."""
        return tuple(map(self.get, names))

    def texts(self, names: tuple[str, ...]) -> tuple[str, ...] | None:
        """The texts of headers, empty if absent. None if one is not UTF-8, has U+0000, or is longer than
        `MAX_ATTRIBUTE_BYTES`."""
        found = [self.get(name) or b"" for name in names]
        if any(b"\0" in text or len(text) > MAX_ATTRIBUTE_BYTES for text in found):
            return None
        try:
            return tuple(text.decode() for text in found)
        except UnicodeDecodeError:
            return None

    def repeated(self, names: tuple[str, ...]) -> str | None:
        """The first of these names that several headers have; None if there is none."""
        given = [name for name, _ in self.headers]
        return next((name for name in names if given.count(name) > 1), None)

    def number(self, name: str) -> int:
        """A header's decimal number; -1 if absent. Raises ValueError when it is none."""
        value = self.get(name)
        return -1 if value is None else int(value)

    def has(self, name: str, content: bytes) -> bool:
        """Whether a header has just this content."""
        return self.get(name) == content


_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
"""The largest value of an offset and of a timestamp."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while shift < 63:
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1), at
        shift += 7
    if data[at] > 1:
        raise ValueError("a number is longer than 64 bits")
    found |= data[at] << 63
    return (found >> 1) ^ -(found & 1), at + 1


def _field(data: bytes, at: int, stop: int, *, nullable: bool = False) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    if length == -1 and nullable:
        return None, at
    if length < 0 or length > stop - at:
        raise ValueError("the batch ends within a field")
    return data[at : at + length], at + length


def pure_read(
    kind: Any, section: bytes, count: int, topic: str, partition: int, base: int, first: int, start: int
) -> list[Any]:
    """The records of a batch from the offset `start` on, as `kind`s (a subclass of `Record`).

    `section` is the batch behind its header, decompressed; `base` and `first` are its base offset and first timestamp.
    Raises ValueError when it is malformed, or when an offset or a timestamp does not fit into 64 bits.
    """
    made: list[Any] = []
    at = 0
    try:
        for _ in range(count):
            size, at = _varint(section, at)
            stop = at + size
            if size < 1 or stop > len(section):
                raise ValueError("the batch ends within a record")
            delta, at = _varint(section, at + 1)
            number, at = _varint(section, at)
            key, at = _field(section, at, stop, nullable=True)
            value, at = _field(section, at, stop, nullable=True)
            headers, at = _varint(section, at)
            if headers < 0 or headers > stop - at:
                raise ValueError("a record has an impossible number of headers")
            found: list[tuple[str, Any]] = []
            for _ in range(headers):
                name, at = _field(section, at, stop)
                content, at = _field(section, at, stop, nullable=True)
                found.append(((name or b"").decode(errors="replace"), content))
            if at != stop:
                raise ValueError("a record is longer than its fields")
            offset, timestamp = base + number, first + delta
            if not _LEAST <= offset <= _MOST:
                raise ValueError("a record's offset is out of range")
            if not _LEAST <= timestamp <= _MOST:
                raise ValueError("a record's timestamp is out of range")
            if offset >= start:
                made.append(kind(topic, partition, offset, timestamp, key, value, found))
    except IndexError:
        raise ValueError("the batch ends within a number") from None
    if at != len(section):
        raise ValueError("the batch is longer than its records")
    return made


_compiled = native.load("_records")
Record: Any = _compiled.Record if _compiled is not None else PureRecord
read: Any = _compiled.read if _compiled is not None else pure_read
