"""One port for two protocols: the first bytes of a connection tell HTTP/2 (gRPC) from HTTP/1.1.

grpc.aio can't share a listening socket, nor take over an accepted one, so a gRPC connection is spliced, byte for byte,
to the gRPC server's private unix socket (50 µs a call, measured). An HTTP/1.1 connection costs nothing extra: its
transport is handed to a uvicorn protocol, as uvicorn itself does for WebSockets. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from services.gateway import metrics
from services.gateway.authority import FirstHead, Unreadable, refusal
from services.gateway.slow import Counted, Late, Patience, Reading

log = logging.getLogger("forgelog.gateway")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every HTTP/2 client sends first (RFC 9113, section 3.4)."""

LINGER_SECONDS = 1.0
"""How long a refused client may read before the connection is cut."""

HIGH_WATER = 1 << 20
"""Bytes buffered per direction before the sender is paused."""

_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of quiet before the system asks whether a client's machine is there, between two such questions, and how many
without an answer mean that it is not: so the stream of one that vanished ends, also when there is nothing to say."""


def is_grpc(first: bytes) -> bool | None:
    """Whether a connection that begins so speaks HTTP/2; None when more bytes are needed to tell."""
    if len(first) < len(PREFACE):
        return None if PREFACE.startswith(first) else False
    return first.startswith(PREFACE)


class Splice(asyncio.Protocol):
    """One direction of a pair: what arrives here leaves by the peer's transport; a slow one slows its peer."""

    def __init__(self, peer: asyncio.Transport | Counted) -> None:
        self._peer = peer
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self._peer.write(data)

    def eof_received(self) -> bool:
        if self._peer.can_write_eof() and not self._peer.is_closing():
            self._peer.write_eof()
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer.close()

    def pause_writing(self) -> None:
        if not self._peer.is_closing():
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        if not self._peer.is_closing():
            self._peer.resume_reading()


class Sniffer(asyncio.Protocol):
    """The protocol of a new connection, until its first bytes have told what it speaks."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._first = b""
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._front.full:
            log.warning("a connection is closed: there are as many as there may be (FORGELOG_GATEWAY_CONNECTIONS)")
            self._transport.abort()
            return
        self._front.connections.add(self._transport)
        keep_alive(self._transport.get_extra_info("socket"))
        self._silence = asyncio.get_running_loop().call_later(self._front.patience.head, self._too_late)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._first += data
        grpc = is_grpc(self._first)
        if grpc is None:
            return
        self._stop_waiting()
        if grpc:
            self._transport.pause_reading()
            self._connecting = asyncio.get_running_loop().create_task(self._splice(self._transport))
            return
        self._front.connections.discard(self._transport)
        protocol = self._front.http()
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.data_received(self._first)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        assert self._transport is not None
        self._front.connections.discard(self._transport)
        if self._connecting is not None:
            self._connecting.cancel()

    def _too_late(self) -> None:
        metrics.cut.labels("head").inc()
        assert self._transport is not None
        self._transport.abort()

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    async def _splice(self, outside: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        counted = Counted(outside)
        try:
            inside, _ = await loop.create_unix_connection(lambda: Splice(counted), self._front.grpc_socket)
        except OSError as error:
            log.warning("the gRPC server's socket can't be reached: %s", error)
            outside.close()
            return
        spliced = Outside(inside, self._front, counted)
        spliced.connection_made(outside)
        outside.set_protocol(spliced)
        spliced.data_received(self._first)
        outside.resume_reading()


class Outside(Splice):
    """The client's side of a splice; tells the front when it is gone."""

    def __init__(self, peer: asyncio.Transport, front: Front, counted: Counted) -> None:
        super().__init__(peer)
        self._front = front
        self._reading = Reading(counted)
        self._head: FirstHead | None = FirstHead()
        """None once the first call's head has passed."""
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._front.spliced.add(self)

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            self._peer.write(data)
        elif not self._refused:
            self._look(self._head, data)

    def _look(self, head: FirstHead, data: bytes) -> None:
        """Pass on what comes before the first call, and that only if it is for this gateway."""
        try:
            passed = head.feed(data)
        except Unreadable as error:
            log.info("a gRPC connection is closed: %s", error)
            self._refused = True
            self._abort()
            return
        if head.authority is not None:
            if problem := self._front.problem(head.authority):
                self._refuse(head.stream, problem)
                return
            self._head = None
        self._peer.write(passed)

    def _refuse(self, stream: int, problem: str) -> None:
        assert self._transport is not None
        metrics.requests.labels("grpc", "(gate)", "permission_denied").inc()
        self._refused = True
        self._transport.write(refusal(stream, problem))
        # Closed at once, while the client still sends, it could miss the answer.
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._front.spliced.discard(self)
        if self._transport is not None:
            self._front.connections.discard(self._transport)

    def late(self, now: float, patience: Patience) -> Late | None:
        """See `services.gateway.slow.Watched`."""
        return "unread" if self._reading.unread_for(now) > patience.unread else None

    def cut(self, late: Late, patience: Patience) -> None:
        """See `services.gateway.slow.Watched`."""
        self._abort()


def keep_alive(of: socket.socket) -> None:
    """Have the system notice when the other side's machine is gone."""
    of.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:  # not on every system
            of.setsockopt(socket.IPPROTO_TCP, option, value)


class Front:
    """The public listener."""

    def __init__(
        self,
        grpc_socket: str,
        http: Callable[[], asyncio.Protocol],
        others: Callable[[], int],
        most: int,
        patience: Patience,
        problem: Callable[[str], str],
    ) -> None:
        """`grpc_socket`: path of the gRPC server's unix socket. `http` makes a protocol for an HTTP/1.1 connection, and
        `others` tells how many it has. `most` bounds all connections: a further one is closed. `problem` says what is
        wrong with the name by which a gRPC connection calls the gateway; empty when nothing is."""
        self.grpc_socket = grpc_socket
        self.http = http
        self._others = others
        self._most = most
        self.patience = patience
        self.problem = problem
        self.connections: set[asyncio.Transport] = set()
        """Connections that are not yet told, or spliced."""
        self.spliced: set[Outside] = set()
        self._server: asyncio.Server | None = None

    @property
    def full(self) -> bool:
        """Whether there is no room for another connection."""
        return len(self.connections) + self._others() >= self._most

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (any free one for 0). Raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Sniffer(self), host, port, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    def stop_listening(self) -> None:
        """Take no new connection; those there go on."""
        if self._server is not None:
            self._server.close()

    def close(self) -> None:
        """End what is left."""
        self.stop_listening()
        for transport in list(self.connections):
            transport.abort()
