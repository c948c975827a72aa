"""Digests of what a task prints, made while it is shipped."""

from __future__ import annotations

from blake3 import blake3


class StreamDigest:
    """BLAKE3 of the first bytes of a stream."""

    __slots__ = ("_hash", "size")

    def __init__(self) -> None:
        self._hash = blake3()
        self.size = 0
        """Bytes of the stream that are in it."""

    def add(self, offset: int, data: bytes) -> None:
        """Add a piece of the stream that begins at `offset`: what of it is in the digest is passed over, as is a piece
        that begins behind the digest's end."""
        known = self.size - offset
        if 0 <= known < len(data):
            self._hash.update(data[known:] if known else data)
            self.size = offset + len(data)

    def hexdigest(self) -> str:
        """Empty for no bytes."""
        return self._hash.hexdigest() if self.size else ""
