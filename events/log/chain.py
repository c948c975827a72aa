"""The hash chain of a partition: D(n) = BLAKE3(D(n-1) || record n), over every valid record in log order.

A record's bytes are the lengths of its parts and then the parts: key, value, and name and content of each header but
``fl_hash``; the count and the lengths in front make the encoding unique. A `WriterStarted` marker carries no hash (its
writer has not read the partition yet); it is folded in by whoever comes next. Void records (an older epoch behind a
newer marker) are not part of the chain.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from blake3 import blake3

GENESIS = b"\0" * 32


def link(previous: bytes, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The chain's next digest, 32 bytes."""
    parts = [key, value]
    for name, content in headers:
        parts.append(name.encode())
        parts.append(content)
    lengths = struct.pack(f">{len(parts) + 1}I", len(parts), *map(len, parts))
    return blake3(b"".join((previous, lengths, *parts))).digest()
