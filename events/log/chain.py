"""The hash chain of a partition: D(n) = BLAKE3(D(n-1) || record n), over every valid record in log order.

A record's bytes are the lengths of its parts and then the parts: key, value, and the name and content of each header
except ``fl_hash``. The count and the lengths in front make the encoding unique. A `WriterStarted` marker carries no
hash, since its writer has not read the partition yet; the hash of the next record covers it. Void records (an older
epoch behind a newer marker) are not part of the chain.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain

from blake3 import blake3

from events.log import native

GENESIS = b"\0" * 32


def link(previous: bytes, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The chain's next digest, 32 bytes."""
    return digest_of(previous + content(key, value, tuple(headers)))


def pure_content(key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> bytes:
    """The bytes of a record that are hashed. (A reader of the log in another language needs these few lines.)"""
    names, texts = zip(*headers, strict=True) if headers else ((), ())
    parts = (key, value, *chain.from_iterable(zip(_encoded(names), texts, strict=True)))
    count = len(parts)
    return _lengths(count).pack(count, *map(len, parts)) + b"".join(parts)


@lru_cache(maxsize=1000)
def _encoded(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """The names of a record's headers as bytes. Cached, since there are few different sets."""
    return tuple(name.encode() for name in names)


@lru_cache(maxsize=1000)
def _lengths(count: int) -> struct.Struct:
    return struct.Struct(f">{count + 1}I")


_compiled = native.load("_records")
content: Callable[[bytes, bytes, Sequence[tuple[str, bytes]]], bytes] = (
    _compiled.content if _compiled is not None else pure_content
)
"""`pure_content`, in C if that was compiled."""


def digest_of(hashed: bytes) -> bytes:
    """The digest, 32 bytes, of the previous digest and a record's bytes."""
    return blake3(hashed).digest()
