"""Decompresses the records of a batch, up to a bound: a megabyte may unpack to gigabytes.

Takes every codec of Kafka (gzip, snappy in both framings, lz4, zstd). Knows no records.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import cramjam

MAX_UNPACKED_BYTES = 32 << 20
"""Most bytes that the records of one compressed batch may have: eight times what a batch may have on the wire."""

_FIRST_GUESS = 16
"""Ratio of unpacked to packed size for the first buffer; if that is too small, a larger buffer is made."""

_LEAST_BUFFER = 1 << 16

_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16


class BatchTooLarge(Exception):
    """The records unpack to more than the bound, or can't be unpacked at all."""


def unpack(kind: int, packed: bytes, most: int = MAX_UNPACKED_BYTES) -> bytes:
    """The records that were packed with a codec (1 gzip, 2 snappy, 3 lz4, 4 zstd). Raises BatchTooLarge."""
    decode = _CODECS.get(kind)
    if decode is None:
        raise BatchTooLarge(f"the batch is packed with an unknown codec ({kind})")
    return decode(packed, most)


def _gzip(packed: bytes, most: int) -> bytes:
    made = bytearray()
    while packed:  # a gzip file is one or more members
        member = zlib.decompressobj(wbits=31)
        try:
            made += member.decompress(packed, most + 1 - len(made))
        except zlib.error as error:
            raise BatchTooLarge(f"the batch can't be unpacked: {error}") from None
        if len(made) > most:
            raise _too_large(most)
        if not member.eof:
            raise BatchTooLarge("the batch can't be unpacked: it ends too early")
        packed = member.unused_data
    return bytes(made)


def _snappy(packed: bytes, most: int) -> bytes:
    if not packed.startswith(_XERIAL):
        return _snappy_block(packed, most)
    made = bytearray()
    at = _XERIAL_HEADER
    while at < len(packed):
        if at + 4 > len(packed):
            raise BatchTooLarge("the batch can't be unpacked: it ends within a block's length")
        (size,) = struct.unpack_from(">i", packed, at)
        at += 4
        if size <= 0 or at + size > len(packed):
            raise BatchTooLarge("the batch can't be unpacked: it ends within a block")
        made += _snappy_block(packed[at : at + size], most)  # a block may be of any size, so each is bounded
        if len(made) > most:
            raise _too_large(most)
        at += size
    return bytes(made)


def _snappy_block(packed: bytes, most: int) -> bytes:
    """The unpacked bytes of a block, which begins with their number."""
    length = shift = 0
    for byte in packed[:5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if length > most:
        raise _too_large(most)
    try:
        return bytes(cramjam.snappy.decompress_raw(packed))
    except cramjam.DecompressionError as error:
        raise BatchTooLarge(f"the batch can't be unpacked: {error}") from None


def _into(decode: Callable[[bytes, bytearray], int]) -> Callable[[bytes, int], bytes]:
    def unpacked(packed: bytes, most: int) -> bytes:
        guess = min(most, max(_LEAST_BUFFER, _FIRST_GUESS * len(packed)))
        for size in (guess, most):
            buffer = bytearray(size)
            try:
                length = decode(packed, buffer)
            except cramjam.DecompressionError as error:
                if size < most:
                    continue
                raise BatchTooLarge(f"the batch unpacks to more than {most} bytes, or not at all: {error}") from None
            return bytes(memoryview(buffer)[:length])
        raise _too_large(most)

    return unpacked


def _too_large(most: int) -> BatchTooLarge:
    return BatchTooLarge(f"the batch unpacks to more than {most} bytes")


_CODECS: dict[int, Callable[[bytes, int], bytes]] = {
    1: _gzip,
    2: _snappy,
    3: _into(cramjam.lz4.decompress_into),
    4: _into(cramjam.zstd.decompress_into),
}
