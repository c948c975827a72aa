"""By which name a gRPC connection calls the gateway: the `:authority` of its first call, read as the bytes pass by.
(grpc.aio does not tell it.)

One name a connection is enough: a web page, whose name may point here, can't have a browser send two over one. Knows
HTTP/2's frames (RFC 9113) as far as the first head; what a head says is HPACK's (RFC 7541) to tell.
"""

from __future__ import annotations

import struct
from typing import Any
from urllib.parse import quote, unquote

from hpack import Decoder, Encoder, HPACKError

MAX_HEAD_BYTES = 64 << 10
"""Most bytes of a head; gRPC's own bound is lower."""

_MOST_KEPT = MAX_HEAD_BYTES + 4096
"""Most bytes of a head's frames: many may hold next to nothing."""

PREFACE_BYTES = 24
_FRAME_HEAD = 9

_HEADERS, _SETTINGS, _GOAWAY, _CONTINUATION = 1, 4, 7, 9
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 1, 4, 8, 32
_PERMISSION_DENIED = "7"


class Unreadable(Exception):
    """The bytes are not HTTP/2, or a head is too large."""


class FirstHead:
    """Takes a connection's bytes, from its preface on, until the first head is whole."""

    def __init__(self) -> None:
        self._held = b""
        """What came of a frame that is not whole yet."""
        self._kept = bytearray()
        """The frames of the head, as far as they came."""
        self._block: bytes | None = None
        """What they hold."""
        self._begun = False
        self.stream = 0
        """Which stream the first call is."""
        self.authority: str | None = None
        """Once the head is whole; empty when it has none."""

    def feed(self, data: bytes) -> bytes:
        """What may be passed on: all but the first head, until that is whole. Raises Unreadable."""
        held, at = self._held + data, 0
        passed = []  # joined once: a stranger may send very many small frames
        while self.authority is None and (size := self._whole(held, at)):
            unit = held[at : at + size]
            at += size
            if self._begun and self._of_head(unit[3], unit[4], unit[5:]):
                self._kept += unit
                if len(self._kept) > _MOST_KEPT:
                    raise Unreadable(f"a head of more than {_MOST_KEPT} bytes with its frames")
            else:
                passed.append(unit)
            self._begun = True
        self._held = held[at:]
        if self.authority is not None:
            passed += bytes(self._kept), self._held
            self._kept, self._held = bytearray(), b""
        return b"".join(passed)

    def _whole(self, held: bytes, at: int) -> int:
        """Bytes of the preface, or of the frame that begins there; 0 when not all of it is there."""
        there = len(held) - at
        if not self._begun:
            size = PREFACE_BYTES
        elif there < _FRAME_HEAD:
            return 0
        elif (size := int.from_bytes(held[at : at + 3])) > MAX_HEAD_BYTES:
            raise Unreadable(f"a frame of {size} bytes before the first call")
        else:
            size += _FRAME_HEAD
        return size if there >= size else 0

    def _of_head(self, kind: int, flags: int, rest: bytes) -> bool:
        """Whether a frame is of the head, which is then read as far as it goes. `rest`: its stream and payload."""
        payload = rest[4:]
        if kind == _HEADERS and self._block is None:
            self.stream = int.from_bytes(rest[:4]) & 0x7FFF_FFFF
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]] if payload else b""
            self._block = payload[5:] if flags & _PRIORITY else payload
        elif self._block is None:
            return False
        elif kind == _CONTINUATION:
            self._block += payload
        else:
            raise Unreadable("a head that another frame interrupts")
        if len(self._block) > MAX_HEAD_BYTES:
            raise Unreadable(f"a head of more than {MAX_HEAD_BYTES} bytes")
        if flags & _END_HEADERS:
            self.authority = _authority(self._block)
        return True


def _authority(block: bytes) -> str:
    try:
        head: Any = Decoder(MAX_HEAD_BYTES).decode(block)
    except HPACKError as error:
        raise Unreadable(f"a head that is not HPACK: {error}") from None
    names: dict[str, str] = {name: value for name, value in head if name in (":authority", "host")}
    return unquote(names.get(":authority") or names.get("host", ""))  # gRPC writes [::1] as %5B::1%5D


def refusal(stream: int, message: str) -> bytes:
    """What refuses a connection's first call, and with it the connection, with PERMISSION_DENIED."""
    head = Encoder().encode(
        [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", _PERMISSION_DENIED),
            ("grpc-message", quote(message, safe=" '/:;.,=()")),
        ]
    )
    return (
        _frame(_SETTINGS, 0, 0, b"")  # first of all, if the server's own has not gone out yet
        + _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, head)
        + _frame(_GOAWAY, 0, 0, struct.pack(">II", stream, 0))
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload
