"""HTTP/1.1 connections of the model server: uvicorn's protocol by httptools, with bounds and with errors as JSON.

Requests that an `AtOnce` answers without waiting take a shorter way than through an ASGI application: no task, no
events, one write. That costs a quarter, measured (see docs/decisions/0125-computed-at-once.md). What it leaves takes
the usual way.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, cast
from typing import Protocol as Interface

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from forgelog.serve.http_answers import TRAILERS

MAX_HEAD_BYTES = 64 << 10
"""Most bytes of a request's line and headers together; uvicorn bounds neither."""

MAX_AT_ONCE_BYTES = 1 << 20
"""Longest body of a request that is kept to be answered at once."""

_NOT_AT_ONCE = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", b"connection"})
"""Headers of requests that take the usual way: clients who keep their connection send none of them."""


class AtOnce(Interface):
    """Answers requests that need no waiting."""

    def takes(self, url: bytes) -> bool:
        """Whether a POST to it may be answered at once."""

    def answer(self, url: bytes, scope: MutableMapping[str, Any], body: bytes) -> tuple[bytes, bytes] | None:
        """Head (without the empty line, for a connection that goes on) and body of the answer as HTTP/1.1; None: it
        takes the usual way, and the application finds in its scope what was put there. Of the scope there are the
        headers."""


class Cycle(RequestResponseCycle):
    """One request and its answer. Uvicorn writes no trailers (RFC 9112, section 7.1.2)."""

    async def send(self, message: Any) -> None:
        trailers = message.get(TRAILERS)
        if not trailers or not self.chunked_encoding or self.response_complete:
            await super().send(message)
            return
        if self.disconnected:
            return
        fields = "".join(f"{name}: {value}\r\n" for name, value in trailers.items())
        self.transport.write(b"0\r\n%b\r\n" % fields.encode("latin-1", "replace"))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class Protocol(HttpToolsProtocol):
    """One connection."""

    _head = 0
    """Bytes that came while a head was not complete."""
    _in_head = True
    _refused = False
    _pieces: list[bytes] | None = None
    """Of the body of a request that may be answered at once; None for one that takes the usual way."""
    at_once: AtOnce | None = None

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._in_head and not self._refused and self.parser is not None:
            self._head += len(data)
            if self._head > MAX_HEAD_BYTES:
                self._refuse(431, f"the request's line and headers have more than {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        self._in_head, self._head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.at_once is not None and self._may_be_at_once(self.at_once):
            self._pieces = []
        else:
            self._usual()

    def _usual(self) -> None:
        """The usual way through the application."""
        super().on_headers_complete()
        if type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = Cycle

    def _may_be_at_once(self, at_once: AtOnce) -> bool:
        if self.parser.get_method() != b"POST" or not at_once.takes(self.url):
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False  # an earlier request of the connection comes first
        length = b""
        for name, value in self.headers:
            if name in _NOT_AT_ONCE:
                return False
            if name == b"content-length":
                length = value
        known = length.isdigit() and int(length) <= MAX_AT_ONCE_BYTES
        return known and self.parser.get_http_version() == "1.1" and not self.flow.write_paused

    def on_body(self, body: bytes) -> None:
        if self._pieces is not None:
            self._pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._pieces is None:
            super().on_message_complete()
            return
        body, self._pieces = b"".join(self._pieces), None
        assert self.at_once is not None
        answer = self.at_once.answer(self.url, cast(dict[str, Any], self.scope), body)
        if answer is not None:
            head, told = answer
            common = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
            self.transport.write(b"".join((head, *common, b"\r\n", told)))
            self.on_response_complete()
            return
        self._usual()
        super().on_body(body)
        super().on_message_complete()

    def shutdown(self) -> None:
        """A request whose body is on its way is answered; then the connection ends."""
        if self._pieces is None:
            super().shutdown()
            return
        body, self._pieces = b"".join(self._pieces), None
        self._usual()
        if body:
            super().on_body(body)
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            self._refuse(400, "this is no HTTP/1.1 request; gRPC has a port of its own")

    def _refuse(self, status: int, text: str) -> None:
        """Answer what is no request, and hear no more of this client."""
        self._refused = True
        body = orjson.dumps({"error": text})
        if self.cycle is None or self.cycle.response_complete:
            head = (
                f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def new_protocol() -> type[Protocol]:
    """The protocol of one server's connections; its `at_once` may be set at any time."""
    return type("ServerProtocol", (Protocol,), {})


def options(application: Any, most_bytes: int, http: type[Protocol]) -> dict[str, Any]:
    """What uvicorn's configuration is made of. `most_bytes`: of a WebSocket's message."""
    return {
        "app": application,
        "interface": "asgi3",
        "http": http,
        "ws": "websockets-sansio",
        "ws_max_size": most_bytes,
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        # requests have been drained before; what is left is a client that does not go on
        "timeout_graceful_shutdown": 5,
        # longer than a proxy keeps idle connections: it must not meet one that is about to be closed
        "timeout_keep_alive": 3600,
    }
