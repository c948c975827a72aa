"""The hash chain of a partition: D(n) = BLAKE3(D(n-1) || record n), over every valid record in log order.

A record's bytes are the lengths of its parts and then the parts: key, value, and name and content of each header but
``fl_hash``; the count and the lengths in front make the encoding unique. A `WriterStarted` marker carries no hash (its
writer has not read the partition yet); it is folded in by whoever comes next. Void records (an older epoch behind a
newer marker) are not part of the chain.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache

from blake3 import blake3

GENESIS = b"\0" * 32

_encoded = cache(str.encode)
"""Names of headers, of which there are few."""


def link(previous: bytes, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The chain's next digest, 32 bytes."""
    return next_digest(previous, content(key, value, headers))


def content(key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    """A record's bytes: what is hashed of it."""
    parts = [key, value]
    for name, text in headers:
        parts += (_encoded(name) if len(name) < 32 else name.encode(), text)
    return struct.pack(f">{len(parts) + 1}I", len(parts), *map(len, parts)) + b"".join(parts)


def next_digest(previous: bytes, content: bytes) -> bytes:
    """The chain's next digest, 32 bytes, from a record's bytes."""
    return blake3(previous + content).digest()
