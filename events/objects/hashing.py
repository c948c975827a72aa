"""BLAKE3 of a stream of bytes, and a stream of pieces of any length as parts of 8 MiB.

Must not know where the bytes come from or go to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable

from blake3 import blake3

from events.language.objects import ObjectRef

PART_BYTES = 8 << 20
"""Bytes of each part of a large object, the last one excepted. S3 wants at least 5 MiB."""

NOTHING = blake3(b"").hexdigest()
"""Digest of no bytes."""

_INLINE_BYTES = 256 << 10
"""More bytes than this are hashed in a thread: 8 MiB take several milliseconds, which would block the event loop."""


class Fingerprint:
    """BLAKE3 and length of the bytes so far."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = blake3()

    async def add(self, data: bytes) -> None:
        self.size += len(data)
        if len(data) <= _INLINE_BYTES:
            self._hash.update(data)
        else:
            await asyncio.to_thread(self._hash.update, data)

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        return self._hash.hexdigest()

    @property
    def ref(self) -> ObjectRef:
        """The reference to the object of these bytes."""
        return ObjectRef(digest=self.digest, size=self.size)


async def in_parts(source: AsyncIterable[bytes], part_bytes: int = PART_BYTES) -> AsyncGenerator[bytes, None]:
    """The source's bytes in parts of exactly `part_bytes`; the last may be shorter. An empty source has none.

    Memory: at most two parts, for pieces of any size.
    """
    held = bytearray()
    async for piece in source:
        at = 0
        while at < len(piece):
            taken = min(part_bytes - len(held), len(piece) - at)
            held += memoryview(piece)[at : at + taken]
            at += taken
            if len(held) == part_bytes:
                part = bytes(held)
                held.clear()
                yield part
                del part  # else it would stay while the next one is gathered
    if held:
        yield bytes(held)
