"""Bodies that come compressed, inflated up to a limit: a few kilobytes can stand for gigabytes. Pure."""

from __future__ import annotations

import zlib

from forgelog.serve.problems import Fault, ServingError, invalid

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's word for a format: gzip (RFC 1952), and its own, which HTTP calls deflate (RFC 9110)."""


def inflate(body: bytes, coding: str, most: int) -> bytes:
    """A body as it was before `coding`, a ``Content-Encoding``. Raises `ServingError`, also for one of more than `most`
    bytes; no more than those are made."""
    for name in reversed([each.strip().lower() for each in coding.split(",")]):
        if name in ("", "identity"):
            continue
        if name not in _WINDOWS:
            raise ServingError(
                Fault.CODING,
                f"content-encoding {name[:40]!r} is not taken here; send gzip, deflate or none",
            )
        body = _inflated(body, name, most)
    return body


def _inflated(body: bytes, name: str, most: int) -> bytes:
    found, rest, went = [], body, 0
    while rest:
        # some senders mean raw deflate by "deflate": its first byte is not zlib's 0x78
        raw = name == "deflate" and (rest[0] & 0x0F) != 8
        reader = zlib.decompressobj(-15 if raw else _WINDOWS[name])
        try:
            piece = reader.decompress(rest, most - went + 1)
        except zlib.error as error:
            raise invalid(f"the body is no {name}: {error}; say content-encoding only of bodies that have it") from None
        went += len(piece)
        if went > most:
            raise ServingError(Fault.TOO_LARGE, f"the body has more than {most:,} bytes when it is inflated; send less")
        if not reader.eof:
            raise invalid(f"the body ends within its {name}; send all of it")
        found.append(piece)
        rest = reader.unused_data if name != "deflate" else b""
    return b"".join(found)
