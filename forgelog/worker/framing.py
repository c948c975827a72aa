"""Messages between a worker and its executor: JSON with its length before it, over a pair of sockets."""

from __future__ import annotations

import os
import socket
import struct
from asyncio import IncompleteReadError, StreamReader
from typing import Any

import orjson

_LENGTH = struct.Struct(">I")

MOST_BYTES = 64 << 20
"""Of a message."""

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """A message as it is sent."""
    body = orjson.dumps(message)
    return _LENGTH.pack(len(body)) + body


async def receive(reader: StreamReader) -> Message | None:
    """The next message; None at the end of the stream."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MOST_BYTES:
            return None  # not one of ours: the user's code has written to the socket
        message: Message = orjson.loads(await reader.readexactly(length))
    except (IncompleteReadError, ConnectionError, orjson.JSONDecodeError):
        return None
    return message


class Channel:
    """The executor's end. Blocks."""

    def __init__(self, file: int) -> None:
        """`file`: the descriptor of a connected socket."""
        os.set_inheritable(file, False)
        self._socket = socket.socket(fileno=file)
        self._socket.setblocking(True)
        self._owner = os.getpid()

    def send(self, message: Message) -> None:
        """Raises OSError if the worker is gone. A copy of the executor, which the user's code has forked and let go on,
        ends here: it is not the executor."""
        if os.getpid() != self._owner:
            os._exit(1)
        self._socket.sendall(pack(message))

    def receive(self) -> Message | None:
        """The next message; None if the worker is gone."""
        if os.getpid() != self._owner:
            os._exit(1)
        head = self._exactly(_LENGTH.size)
        if head is None:
            return None
        body = self._exactly(_LENGTH.unpack(head)[0])
        return None if body is None else orjson.loads(body)

    def _exactly(self, size: int) -> bytes | None:
        found = bytearray()
        while len(found) < size:
            try:
                piece = self._socket.recv(size - len(found))
            except ConnectionError:
                return None
            if not piece:
                return None
            found += piece
        return bytes(found)
