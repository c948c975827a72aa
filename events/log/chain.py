"""The hash chain of a partition: D(n) = BLAKE3(D(n-1) || record n), over every valid record in log order.

A record's bytes are its key, its headers but ``fl_hash``, and its value, each length-prefixed, so that no two records
share an encoding. A `WriterStarted` marker carries no hash (its writer has not read the partition yet); it is folded in
by whoever comes next. Void records (an older epoch behind a newer marker) are not part of the chain.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from blake3 import blake3

GENESIS = b"\0" * 32

_LENGTH = struct.Struct(">I")


def link(previous: bytes, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The chain's next digest, 32 bytes."""
    parts = [previous, _LENGTH.pack(len(key)), key, _LENGTH.pack(len(value)), value]
    for name, content in headers:
        encoded = name.encode()
        parts += (_LENGTH.pack(len(encoded)), encoded, _LENGTH.pack(len(content)), content)
    return blake3(b"".join(parts)).digest()
