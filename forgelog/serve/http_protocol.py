"""HTTP/1.1 connections of the model server: the bounded protocol, and errors as JSON.

Requests that an `AtOnce` answers without waiting take a shorter way than through an ASGI application: no task, no
events, one write. That costs a quarter, measured (see docs/decisions/0125-computed-at-once.md). What it leaves takes
the usual way.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, cast
from typing import Protocol as Interface

import orjson
from httptools import parse_url
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from events.process.http_protocol import BoundedProtocol, Refusal
from forgelog.serve.http_answers import TRAILERS

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


class Protocol(BoundedProtocol):
    """One connection."""

    cycle_class = Cycle
    malformed_hint = "send HTTP/1.1; gRPC has a port of its own"
    _pieces: list[bytes] | None = None
    """Of the body of a request that may be answered at once; None for one that takes the usual way."""
    at_once: AtOnce | None = None

    def take(self) -> None:
        if not self.url.startswith(b"/"):  # as a proxy is asked (RFC 9112, section 3.2.2)
            parts = parse_url(self.url)
            self.url = parts.path + (b"?" + parts.query if parts.query else b"")
        if self.at_once is not None and self._may_be_at_once(self.at_once):
            self._pieces = []
        else:
            super().take()

    def _may_be_at_once(self, at_once: AtOnce) -> bool:
        if self.parser.get_method() != b"POST" or not at_once.takes(self.url):
            return False
        if self.is_answering:
            return False  # an earlier request of the connection comes first
        length = b""
        for name, value in self.headers:
            if name in _NOT_AT_ONCE:
                return False
            if name == b"content-length":
                length = value
        known = length.isdigit() and int(length) <= MAX_AT_ONCE_BYTES
        return known and self.parser.get_http_version() == "1.1" and not self.flow.write_paused

    def take_body(self, body: bytes) -> None:
        if self._pieces is not None:
            self._pieces.append(body)
        else:
            super().take_body(body)

    def take_end(self) -> None:
        if self._pieces is None:
            super().take_end()
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
        super().take()
        super().take_body(body)
        super().take_end()

    def shutdown(self) -> None:
        """A request whose body is on its way is answered; then the connection ends."""
        if self._pieces is None:
            super().shutdown()
            return
        body, self._pieces = b"".join(self._pieces), None
        super().take()
        if body:
            super().take_body(body)
        super().shutdown()

    def refused(self, refusal: Refusal) -> bytes:
        return orjson.dumps({"error": refusal.text})


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
