"""Bytes that pass by: their digest, and their parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from events.objects.hashing import NOTHING, Fingerprint, in_parts


async def streamed(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@given(st.lists(st.binary(max_size=20)), st.integers(1, 9))
async def test_parts_have_their_length_and_are_the_bytes_that_came(pieces: list[bytes], length: int) -> None:
    parts = [part async for part in in_parts(streamed(pieces), length)]
    assert b"".join(parts) == b"".join(pieces)
    assert all(len(part) == length for part in parts[:-1])
    assert all(0 < len(part) <= length for part in parts)


async def test_a_digest_is_that_of_all_bytes_however_they_come() -> None:
    data = bytes(range(256)) * 5000
    for cut in (0, 1, 1000, 1 << 20):
        seen = Fingerprint()
        await seen.add(data[:cut])
        await seen.add(data[cut:])
        assert (seen.digest, seen.size) == (blake3(data).hexdigest(), len(data))


def test_of_nothing_there_is_a_digest_too() -> None:
    # the test vectors of BLAKE3's authors begin with this one
    assert NOTHING == Fingerprint().digest == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
