"""The frames of a local connection, as bytes. Knows no socket and no method.

A frame is a head of 9 bytes, `>IBI` (bytes of the body, kind, number), and a body. Kinds, and what their bodies are:

    HELLO    client  the platform's key; the number is the version of this protocol
    WELCOME  server  nothing: the key is right, calls are taken
    CALL     client  `>IHH` (milliseconds until the deadline, bytes of path and of metadata), path, metadata, request
    CANCEL   client  nothing: nobody waits for the answer
    ANSWER   server  the answer
    FAILED   server  `>BI` (status code, bytes of details), details, trailing metadata

Answers come in any order; the number tells whose each is. Metadata is pairs, each `>HI` (bytes of name and value), name
and value; as in gRPC the value of a name that ends with ``-bin`` is bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

VERSION = 1

HELLO, WELCOME, CALL, CANCEL, ANSWER, FAILED = range(1, 7)

MOST_HELLO_BYTES = 4096
"""Largest body before the key is known."""

MOST_MILLISECONDS = (1 << 32) - 1
MOST_METADATA_BYTES = (1 << 16) - 1
MOST_DETAILS_BYTES = 1 << 14
"""Of a failure's words; gRPC's own are bounded by what it takes of headers."""
MOST_FAILED_BYTES = 5 + MOST_DETAILS_BYTES + MOST_METADATA_BYTES
"""Of a failure's body."""

Metadata = tuple[tuple[str, str | bytes], ...]

_HEAD = struct.Struct(">IBI")
_CALL = struct.Struct(">IHH")
_FAILED = struct.Struct(">BI")
_PAIR = struct.Struct(">HI")


class Malformed(Exception):
    """The other side does not speak this protocol; its connection is of no use any more."""


class Call(NamedTuple):
    """A call's body."""

    seconds: float
    """Until its deadline."""
    path: bytes
    """As gRPC writes it: ``/forgelog.jobs.v1.JobQueries/GetJob``."""
    metadata: bytes
    request: bytes


class Failure(NamedTuple):
    """Of a call: what a gRPC status is."""

    code: int
    details: str
    trailing: Metadata = ()


class Reader:
    """Cuts what arrives into frames."""

    def __init__(self, most: int) -> None:
        """`most`: bytes of a body."""
        self.most = most
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Kind, number and body of each frame that is whole. Raises Malformed where one is too large."""
        if self._held:
            self._held += data
            if self._lacks(self._held):
                return
            data, self._held = bytes(self._held), bytearray()
        at, end = 0, len(data)
        while end - at >= _HEAD.size:
            size, kind, number = _HEAD.unpack_from(data, at)
            if size > self.most:
                raise Malformed(f"a frame of {size} bytes; at most {self.most} are taken")
            begin = at + _HEAD.size
            if end - begin < size:
                break
            at = begin + size
            yield kind, number, data[begin:at]
        if at < end:
            self._held += data[at:]

    def _lacks(self, held: bytearray) -> bool:
        """Whether the first frame is not whole yet. Called for each piece of a large one, so it copies nothing."""
        if len(held) < _HEAD.size:
            return True
        size = int.from_bytes(held[:4])
        return len(held) - _HEAD.size < size <= self.most


def frame(kind: int, number: int, body: bytes = b"") -> bytes:
    """A frame's bytes."""
    return _HEAD.pack(len(body), kind, number) + body


def call(number: int, seconds: float, path: bytes, metadata: bytes, request: bytes) -> bytes:
    """A call's frame."""
    milliseconds = math.ceil(min(max(seconds * 1000, 0), MOST_MILLISECONDS))  # up: its caller's deadline comes first
    inner = _CALL.pack(milliseconds, len(path), len(metadata))
    size = len(inner) + len(path) + len(metadata) + len(request)
    return b"".join((_HEAD.pack(size, CALL, number), inner, path, metadata, request))


def read_call(body: bytes) -> Call:
    """Raises Malformed."""
    if len(body) < _CALL.size:
        raise Malformed("a call without a head")
    milliseconds, of_path, of_metadata = _CALL.unpack_from(body)
    behind_path = _CALL.size + of_path
    begin = behind_path + of_metadata
    if begin > len(body):
        raise Malformed("a call that is shorter than its head says")
    return Call(milliseconds / 1000, body[_CALL.size : behind_path], body[behind_path:begin], body[begin:])


def failed(number: int, failure: Failure) -> bytes:
    """A failure's frame. Words that are too long are cut; metadata that is too large is left out."""
    details = failure.details.encode(errors="replace")[:MOST_DETAILS_BYTES]
    trailing = pack_metadata(failure.trailing)
    body = _FAILED.pack(failure.code, len(details)) + details
    return frame(FAILED, number, body + trailing if len(trailing) <= MOST_METADATA_BYTES else body)


def read_failed(body: bytes) -> Failure:
    """Raises Malformed."""
    if len(body) < _FAILED.size:
        raise Malformed("a failure without a head")
    code, size = _FAILED.unpack_from(body)
    begin = _FAILED.size + size
    if begin > len(body):
        raise Malformed("a failure that is shorter than its head says")
    return Failure(code, body[_FAILED.size : begin].decode(errors="replace"), read_metadata(body[begin:]))


def pack_metadata(pairs: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Metadata's bytes."""
    found: list[bytes] = []
    for name, value in pairs:
        key, content = name.encode(), value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        found += _PAIR.pack(len(key), len(content)), key, content
    return b"".join(found)


def read_metadata(content: bytes) -> Metadata:
    """Raises Malformed."""
    pairs: list[tuple[str, str | bytes]] = []
    at = 0
    while at < len(content):
        if len(content) - at < _PAIR.size:
            raise Malformed("metadata that ends within a pair")
        of_name, of_value = _PAIR.unpack_from(content, at)
        behind_name = at + _PAIR.size + of_name
        end = behind_name + of_value
        if end > len(content):
            raise Malformed("metadata that ends within a pair")
        name = content[at + _PAIR.size : behind_name].decode(errors="replace")
        value = content[behind_name:end]
        pairs.append((name, value if name.endswith("-bin") else value.decode("utf-8", "surrogateescape")))
        at = end
    return tuple(pairs)
