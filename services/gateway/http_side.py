"""HTTP/1.1 on connections that the front hands over: the bounded protocol without a listener of its own, with times.

What is no HTTP request is answered as every other refusal is. Knows no path.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from email.utils import formatdate
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from events.language.common import FieldError
from events.process.http_protocol import BoundedProtocol, Refusal
from services.gateway.errors import as_json
from services.gateway.slow import Counted, Late, Patience, Reading
from services.gateway.transcode import dumps

STREAMED = "forgelog.streamed"
"""Set in a request's scope: its body may be of any length, so that it need not come as a whole within the bound, but
`STREAMED_BYTES` after `STREAMED_BYTES`."""

STREAMED_BYTES = 256 << 10


class Protocol(BoundedProtocol):
    """One connection."""

    malformed_hint = "send HTTP/1.1, or gRPC over HTTP/2"
    _since = 0.0
    """When what is coming of a request began to come, or the part of it that has to come next; seconds of the monotonic
    clock."""
    _came = 0
    """Bytes of that part."""
    _reading: Reading

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        counted = Counted(transport)
        self._reading = Reading(counted)
        self._since = time.monotonic()
        super().connection_made(counted)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        before = self.coming, self.begun
        super().data_received(data)
        if (self.coming, self.begun) != before:
            self._since, self._came = time.monotonic(), 0
        elif self.coming == "body" and self._streamed:
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
        if self.coming is None or self.is_refused:
            return None
        if self._kept_waiting():
            self._since = now
        return self.coming if now - self._since > getattr(patience, self.coming) else None

    def _kept_waiting(self) -> bool:
        """Whether the client can't go on: it is not heard, since what it sent is still being stored, or since the
        requests before this one are not answered yet."""
        if self.coming == "head":
            return self.is_answering
        return bool(self.pipeline) or (self._streamed and self.flow.read_paused)

    def cut(self, late: Late, patience: Patience) -> None:
        """See `services.gateway.slow.Watched`."""
        if late == "unread":
            self.transport.abort()
            return
        seconds, hint, part = getattr(patience, late), "send it at once", ""
        if late == "body":
            how = "send less at a time"
            if self._streamed:
                part, how = f"body's next {STREAMED_BYTES >> 10} KiB", "send it faster"
            hint = f"{how}, or set FORGELOG_GATEWAY_BODY_SECONDS"
        self.refuse(Refusal(408, "deadline_exceeded", late, f"did not come within {seconds:g} s", hint, part))

    def refused(self, refusal: Refusal) -> bytes:
        field = "(headers)" if refusal.about == "head" else "(body)"
        error = FieldError(field=field, problem=refusal.problem, hint=refusal.hint)
        return dumps({"error": as_json(refusal.code, refusal.text, [error])}) + b"\n"


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
