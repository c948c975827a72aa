"""HTTP/1.1 connections of our servers: uvicorn's protocol by httptools (llhttp), with bounds and with strict framing.

A head is bounded, and so are the requests that a client sends ahead. A message whose end two readers could see at
different places is refused (RFC 9112, sections 5 and 6): who stands before this server must not be made to pass on one
request as two. Knows no path and no server; how a refusal is written is the server's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 << 10
"""Most bytes of a request's line and headers together, of a chunk's head and of a trailer; uvicorn bounds none."""

MOST_AHEAD = 64
"""Most requests of one connection that wait until those before them are answered. llhttp reads all that came at once,
and a request takes a hundred times the memory that its bytes take."""

LINGER_SECONDS = 1.0
"""How long a refused client may go on sending before the connection is cut; cut at once, it would miss the answer."""

MALFORMED_HINT = "send HTTP/1.1"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is told whose bytes are no request."""

    status: int
    code: str
    about: Literal["head", "body"]
    problem: str
    hint: str
    part: str = ""
    """What of the head or the body; empty: all of it."""

    @property
    def text(self) -> str:
        part = self.part or ("line and headers" if self.about == "head" else "body")
        return f"the request's {part} {self.problem}; {self.hint}"


class Refused(Exception):
    """Raised in the parser's callbacks, to stop it."""


class _Flow(FlowControl):
    """Reads on only when no request waits for those before it. Uvicorn reads on as soon as one looks at its body."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    cycle_class: type[RequestResponseCycle] = RequestResponseCycle
    malformed_hint = MALFORMED_HINT

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._new_parser()
        self.coming: Literal["head", "body"] | None = "head"
        """What of a request is on its way."""
        self.begun = 0
        """Requests that began to come."""
        self.is_refused = False
        self._refusal: Refusal | None = None
        """Why a callback has stopped the parser."""
        self._head_bytes = 0
        """Of the headers that are read."""
        self._unread = 0
        """Bytes that came since anything was complete: a head, a piece of a body, a message."""
        self._complete = False
        """Whether what came last has completed anything."""
        self._plain: bytes | None = None
        """The head of a request that asks for an upgrade, as if it did not."""

    def refused(self, refusal: Refusal) -> bytes:
        """The body of the answer, which is JSON."""
        raise NotImplementedError

    def _new_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)  # strict: uvicorn lets data follow "Connection: close"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)

    # What came

    def data_received(self, data: bytes) -> None:
        if self.is_refused:
            return
        self._unset_keepalive_if_required()
        self._complete = False
        self._feed(data)
        if self.is_refused or self.parser is None:
            return
        self._unread = 0 if self._complete else self._unread + len(data)
        if self.coming is None and not self._complete and not self.is_answering:
            self.coming = "head"  # empty lines before it
        if self._unread > MAX_HEAD_BYTES:
            self.refuse(_too_large() if self.coming != "body" else _too_large_part())

    @property
    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            elif self._plain is not None:
                head, self._plain = self._plain, None
                self._new_parser()
                self._feed(head + data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.refuse(self._refusal or self._malformed(error))

    def _malformed(self, error: httptools.HttpParserError) -> Refusal:
        """The parser's words name what is wrong, and repeat nothing of it: it may hold a key."""
        about: Literal["head", "body"] = "body" if self.coming == "body" else "head"
        what = "illegal URL" if isinstance(error, httptools.HttpParserCallbackError) else f"illegal {about}: {error}"
        verb = "is" if about == "body" else "are"
        return Refusal(400, "invalid_argument", about, f"{verb} not HTTP/1.1: {what}", self.malformed_hint)

    def _stop(self, status: int, problem: str, hint: str = "") -> Refused:
        """What to raise in a callback."""
        code = "invalid_argument" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "unimplemented"
        problem = f"are not HTTP/1.1: {problem}"
        self._refusal = Refusal(status, code, "head", problem, hint or self.malformed_hint)
        return Refused()

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self.coming, self._head_bytes = "head", 0
        self.begun += 1
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.coming == "body":
            return  # a trailer: what it says has passed no check
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refusal = _too_large()
            raise Refused
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        self._complete = True
        if self.parser.should_upgrade():
            if self._should_upgrade():
                self.scope["method"] = self.parser.get_method().decode("ascii")
                return
            if self.parser.get_method() == b"CONNECT":
                raise self._stop(501, "CONNECT is for proxies", "send the request itself")
            self._plain = self._without_upgrade()
            return
        self._check_framing()
        if self.is_answering and len(self.pipeline) >= MOST_AHEAD:
            raise self._stop(400, f"more than {MOST_AHEAD} requests came ahead", "wait for the answers")
        self.coming = "body"
        self.take()

    def _without_upgrade(self) -> bytes:
        """A request's head again: llhttp reads no body behind one that asks for an upgrade, and a server may go on with
        HTTP/1.1 (RFC 9110, section 7.8). Clients ask for HTTP/2 so, with a body."""
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join((line, *kept, b"", b""))

    def _check_framing(self) -> None:
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise self._stop(400, "illegal version")
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1:
            raise self._stop(400, "multiple Host headers")
        if not hosts and version == "1.1":
            raise self._stop(400, "the Host header is missing")
        if b"transfer-encoding" in names:
            codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
            if version != "1.1":
                raise self._stop(400, "illegal Transfer-Encoding in HTTP/1.0")
            if codings != [b"chunked"]:
                raise self._stop(501, "illegal Transfer-Encoding", "send it as chunked, and as nothing else")

    def take(self) -> None:
        """Hand a request whose head is there to the application, behind those before it."""
        raw_path, _, query = self.url.partition(b"?")
        version = self.parser.get_http_version()
        path = raw_path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"] = raw_path
        self.scope["query_string"] = query
        waits = self.is_answering
        self.cycle = self.cycle_class(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def on_body(self, body: bytes) -> None:
        self._complete = True
        self.take_body(body)

    def take_body(self, body: bytes) -> None:
        """A piece of the body of the request that was taken last."""
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        self._complete = True

    def on_message_complete(self) -> None:
        self._complete = True
        if self._plain is None:
            self.coming = None
            self.take_end()

    def take_end(self) -> None:
        """The request that was taken last has come whole."""
        super().on_message_complete()

    # Refusals

    def send_400_response(self, msg: str) -> None:
        raise NotImplementedError("see refuse")

    def refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, and hear no more of this client. Requests before it are answered; one whose body
        is on its way is not, if nothing was said to it yet."""
        self.is_refused = True
        if self.is_answering:
            if self.coming != "body":
                self.cycle.keep_alive = False  # it ends the connection
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started or self.pipeline:
                self._end()
                return
        body = self.refused(refusal)
        lines = [
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}".encode(),
            *(b"%b: %b" % header for header in self.server_state.default_headers),
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join((*lines, b"", body)))
        self._end()

    def _end(self) -> None:
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


def _too_large() -> Refusal:
    code, problem = "request_header_fields_too_large", f"have more than {MAX_HEAD_BYTES} bytes"
    return Refusal(431, code, "head", problem, "send large values in the body")


def _too_large_part() -> Refusal:
    problem = f"has more than {MAX_HEAD_BYTES} bytes"
    return Refusal(400, "invalid_argument", "body", problem, "leave it out", "chunk extension or trailer")
