"""HTTP/1.1 on connections that the front hands over: uvicorn's protocol without a listener of its own.

What is no HTTP request is answered as every other refusal is. Knows no path.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Literal

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from events.language.common import FieldError
from services.gateway.errors import as_json
from services.gateway.slow import Counted, Late, Patience, Reading
from services.gateway.transcode import dumps

MAX_HEAD_BYTES = 64 << 10
"""Most bytes of a request's line and headers together. (The other implementation in uvicorn bounds neither.)"""

STREAMED = "forgelog.streamed"
"""Set in a request's scope: its body may be of any length, so that it need not come as a whole within the bound, but
`STREAMED_BYTES` after `STREAMED_BYTES`."""

STREAMED_BYTES = 256 << 10

LINGER_SECONDS = 1.0
"""How long a refused client may go on sending before the connection is cut; cut at once, it would miss the answer."""


class Protocol(H11Protocol):
    """One connection."""

    _refused = False
    _coming: Literal["head", "body"] | None = "head"
    """What of a request is on its way."""
    _since = 0.0
    """When it began to come, or the part of it that has to come next; seconds of the monotonic clock."""
    _came = 0
    """Bytes of that part."""
    _reading: Reading

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        counted = Counted(transport)
        self._reading = Reading(counted)
        self._since = time.monotonic()
        super().connection_made(counted)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        before = self.cycle
        super().data_received(data)
        state = self.conn.their_state
        coming: Literal["head", "body"] | None = (
            "head" if state is h11.IDLE else "body" if state is h11.SEND_BODY else None
        )
        if coming != self._coming or self.cycle is not before:
            self._coming, self._since, self._came = coming, time.monotonic(), 0
        elif coming == "body" and self._streamed:
            self._came += len(data)
            if self._came >= STREAMED_BYTES:
                self._since, self._came = time.monotonic(), 0

    @property
    def _streamed(self) -> bool:
        return STREAMED in self.scope

    def late(self, now: float, patience: Patience) -> Late | None:
        """See `services.gateway.slow.Watched`."""
        if self._reading.unread_for(now) > patience.unread:
            return "unread"
        if self._coming is None or self._refused:
            return None
        if self._coming == "body" and self._streamed and self.flow.read_paused:
            self._since = now  # it is not heard, since what it sent is still being stored
        return self._coming if now - self._since > getattr(patience, self._coming) else None

    def cut(self, late: Late, patience: Patience) -> None:
        """See `services.gateway.slow.Watched`."""
        if late == "unread":
            self.transport.abort()
            return
        what, seconds = ("line and headers", patience.head) if late == "head" else ("body", patience.body)
        hint = "send less at a time, or set FORGELOG_GATEWAY_BODY_SECONDS" if late == "body" else "send it at once"
        if late == "body" and self._streamed:
            what, hint = (
                f"body's next {STREAMED_BYTES >> 10} KiB",
                "send it faster, or set FORGELOG_GATEWAY_BODY_SECONDS",
            )
        text = f"the request's {what} did not come within {seconds:g} s; {hint}"
        self._refuse(408, "deadline_exceeded", text, [])

    def send_400_response(self, msg: str) -> None:
        """Called while h11's error is handled; h11 tells a head that is too large by its status."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            code, problem = "request_header_fields_too_large", f"have more than {MAX_HEAD_BYTES} bytes"
            hint = "send large values in the body"
        else:
            what = str(error).partition("bytearray(")[0].rstrip(": ")  # the line itself may hold a key
            code, problem, hint = "invalid_argument", f"are not HTTP/1.1: {what}", "send HTTP/1.1, or gRPC over HTTP/2"
        errors = [FieldError(field="(headers)", problem=problem, hint=hint)]
        self._refuse(status, code, f"the request's line and headers {problem}; {hint}", errors)

    def _refuse(self, status: int, code: str, text: str, errors: Iterable[FieldError]) -> None:
        """Answer what is no request, and hear no more of this client."""
        body = dumps({"error": as_json(code, text, errors)}) + b"\n"
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        self._refused = True
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer is on its way already
            response = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


class HttpSide:
    """Makes a protocol for each connection, and ends them all."""

    def __init__(self, application: Any) -> None:
        self._config = uvicorn.Config(
            application,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        self._config.load()
        self._state = ServerState()

    def protocol(self) -> asyncio.Protocol:
        """For one connection."""
        return Protocol(config=self._config, server_state=self._state, app_state={})

    def watched(self) -> Iterable[Protocol]:
        """All connections."""
        return self._state.connections  # type: ignore[return-value]

    def connections(self) -> int:
        """How many there are."""
        return len(self._state.connections)

    async def keep_date(self) -> None:
        """The ``date`` header of all answers, renewed every second (uvicorn's own server does the same)."""
        while True:
            self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            await asyncio.sleep(1)

    async def drain(self, seconds: float) -> None:
        """Let requests end, and end the connections that have none."""
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=seconds)
            for task in late:
                task.cancel()
