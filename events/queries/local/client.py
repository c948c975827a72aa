"""A caller's end of local calls. Fails as a gRPC channel does: with `grpc.aio.AioRpcError`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import grpc

from events.queries.local import frames, places
from events.queries.local.frames import Malformed

AGAIN_SECONDS, SELDOM_SECONDS = 0.5, 8.0
"""Between two looks for a socket that can't be used: at first, and at last, twice as long each time."""
WELCOME_SECONDS = 5.0

_CODES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}

log = logging.getLogger("forgelog.local")


class LocalClient:
    """The connection to a service's socket. It is made in the background when somebody asks for it, also anew."""

    def __init__(self, path: Path, key: str, *, most_sent: int, most_received: int) -> None:
        """The bounds are a message's bytes."""
        self._path = path
        self._key = key
        self._most_sent = most_sent
        self._most_received = most_received
        self._connection: LocalConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self._look_at = 0.0
        self._pause = AGAIN_SECONDS
        self._closed = False

    def connection(self, request: bytes) -> LocalConnection | None:
        """What takes this request now; None where it has to go by gRPC: without a connection, if it is
        too large, or while the service does not read: what waits to be sent stays bounded."""
        connection = self._connection
        if connection is not None and connection.open:
            return connection if connection.writable and len(request) <= self._most_sent else None
        if self.connecting is None and not self._closed and time.monotonic() >= self._look_at:
            self.connecting = asyncio.get_running_loop().create_task(self.connect())
        return None

    async def connect(self) -> None:
        """Look for the socket. What stands against it is logged: gRPC reaches the service too."""
        made: LocalConnection | None = None
        pause, self._pause = self._pause, min(2 * self._pause, SELDOM_SECONDS)
        try:
            places.check_folder(self._path.parent)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(WELCOME_SECONDS):
                _, made = await loop.create_unix_connection(
                    lambda: LocalConnection(self._key, self._most_received), str(self._path)
                )
                await made.welcome
            self._connection = made
            pause = self._pause = AGAIN_SECONDS
        except (OSError, places.NoPlace, Malformed) as problem:  # OSError: also TimeoutError
            log.debug("%s can't be used: %s", self._path, problem)
        finally:
            if made is not None and made is not self._connection:  # also when this task is cancelled
                made.close()
            self._look_at = time.monotonic() + pause
            self.connecting = None

    async def close(self) -> None:
        """End the connection; calls under way fail."""
        self._closed = True
        if self.connecting is not None:
            self.connecting.cancel()
            await asyncio.gather(self.connecting, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()


class LocalConnection(asyncio.Protocol):
    """Carries many calls at a time."""

    def __init__(self, key: str, most_received: int) -> None:
        self._key = key
        self._reader = frames.Reader(max(most_received, frames.MOST_FAILED_BYTES))
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self.welcome: asyncio.Future[None] = self._loop.create_future()
        """Done once the server takes calls; fails with ConnectionError."""
        self.open = False
        self.writable = True
        """False while the transport holds more than it should."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(frames.frame(frames.HELLO, frames.VERSION, self._key.encode()))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionError("the service closed the connection"))
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(error_of(grpc.StatusCode.UNAVAILABLE, "the local connection ended"))

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True

    def close(self) -> None:
        """End it; calls under way fail."""
        self.open = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, body in self._reader.feed(data):
                if kind == frames.ANSWER:
                    future = self._pending.pop(number, None)
                    if future is not None and not future.done():
                        future.set_result(body)
                elif kind == frames.FAILED:
                    failure = frames.read_failed(body)  # first: if it is malformed, the call still waits, and fails
                    future = self._pending.pop(number, None)
                    if future is not None and not future.done():
                        code = _CODES.get(failure.code, grpc.StatusCode.UNKNOWN)
                        future.set_exception(error_of(code, failure.details, failure.trailing))
                elif kind == frames.WELCOME and not self.welcome.done():
                    self.open = True
                    self.welcome.set_result(None)
                else:
                    raise Malformed(f"a frame of kind {kind} where there is none")
        except Malformed as problem:
            log.warning("a local connection is closed: %s", problem)
            self.close()

    async def call(
        self, path: str, request: bytes, *, timeout: float, metadata: Iterable[tuple[str, str | bytes]] = ()
    ) -> bytes:
        """The answer to a request, `timeout` seconds from now at the latest. Raises AioRpcError."""
        if not self.open:
            raise error_of(grpc.StatusCode.UNAVAILABLE, "the local connection ended")
        packed = frames.pack_metadata(metadata)
        if len(packed) > frames.MOST_METADATA_BYTES:
            raise error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "the metadata is too large")
        number = self._number = (self._number + 1) & 0xFFFF_FFFF
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._pending[number] = future
        timer = self._loop.call_later(timeout, self._late, number)
        self._transport.write(frames.call(number, timeout, path.encode(), packed, request))
        try:
            return await future
        finally:
            timer.cancel()
            if self._pending.pop(number, None) is not None:  # the caller has gone
                self._cancel(number)

    def _late(self, number: int) -> None:
        future = self._pending.pop(number, None)
        if future is not None:
            self._cancel(number)
            if not future.done():
                future.set_exception(error_of(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _cancel(self, number: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(frames.frame(frames.CANCEL, number))


def error_of(
    code: grpc.StatusCode, details: str, trailing: Iterable[tuple[str, str | bytes]] = ()
) -> grpc.aio.AioRpcError:
    """A call's failure, as gRPC's own."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details, None)
