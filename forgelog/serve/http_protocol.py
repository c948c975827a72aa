"""HTTP/1.1 connections of the model server: uvicorn's protocol by httptools, with bounds and with errors as JSON."""

from __future__ import annotations

from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10
"""Most bytes of a request's line and headers together; uvicorn bounds neither."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _head = 0
    """Bytes that came while a head was not complete."""
    _in_head = True
    _refused = False

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
        super().on_headers_complete()

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


def options(application: Any, most_bytes: int) -> dict[str, Any]:
    """What uvicorn's configuration is made of. `most_bytes`: of a WebSocket's message."""
    return {
        "app": application,
        "interface": "asgi3",
        "http": Protocol,
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
