"""A service's end of local calls: the handlers that its gRPC server has, those of one request and one answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import grpc

from events.queries.callers import Callers, Unauthenticated, bearer
from events.queries.local import frames, places
from events.queries.local.frames import Failure, Malformed, Metadata

HELLO_SECONDS = 5.0
"""How long a new connection may take to say who it is."""
WARNING_SECONDS = 60.0
"""Between two warnings of connections that were refused."""

log = logging.getLogger("forgelog.service")


class LocalServer:
    """Stands for a server where handlers are added to it. Those of streams are left to gRPC."""

    def __init__(self, callers: Callers, *, most_received: int, most_sent: int) -> None:
        """The bounds are a message's bytes. How many calls are answered at a time, handlers themselves bound."""
        self.callers = callers
        self.most_received = most_received
        self.most_sent = most_sent
        self.handlers: dict[bytes, Any] = {}
        """By gRPC path."""
        self.connections: set[_Connection] = set()
        self.stopping = False
        self._warn_at = 0.0
        self._places: list[places.Listening] = []
        self._servers: list[asyncio.Server] = []

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Those here come under their names too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        for name, handler in handlers.items():
            if handler.unary_unary is not None:
                self.handlers[f"/{service}/{name}".encode()] = handler

    async def start(self, data: Path, host: str, port: int) -> None:
        """Listen where the gateway looks. Where that can't be, a log says why: calls come by gRPC then."""
        try:
            self._places = places.listening(data, host, port)
        except places.NoPlace as problem:
            log.info("calls come by gRPC alone: %s", problem)
            return
        loop = asyncio.get_running_loop()
        for place in self._places:
            self._servers.append(await loop.create_unix_server(lambda: _Connection(self), sock=place.socket))

    def refusal_level(self) -> int:
        """A warning at most once in WARNING_SECONDS: a client with another key comes again and again."""
        now = time.monotonic()
        if now < self._warn_at:
            return logging.DEBUG
        self._warn_at = now + WARNING_SECONDS
        return logging.WARNING

    async def stop(self, grace: float) -> None:
        """Take no more calls; those under way have `grace` seconds, and so have callers to read their answers."""
        until = time.monotonic() + grace
        self.stopping = True
        for place in self._places:
            place.remove()  # before the gRPC port is free: then it may be another process's
        for server in self._servers:
            server.close()
        tasks = [task for connection in self.connections for task in connection.tasks.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        ends = []
        for connection in list(self.connections):
            ends.append(asyncio.ensure_future(connection.ended.wait()))
            connection.close()
        if ends:
            await asyncio.wait(ends, timeout=max(0.0, until - time.monotonic()))
            for connection in list(self.connections):
                connection.abort()
            await asyncio.wait(ends)


class Aborted(grpc.aio.AbortError):
    """What `abort` ends a handler with."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.details)
        self.failure = failure


class LocalContext:
    """What a handler knows of its call: `grpc.aio.ServicerContext`, as far as it means something here. Metadata of an
    answer has nobody who reads it: the gateway passes on none."""

    __slots__ = ("_code", "_details", "_failure", "_metadata", "_trailing", "_until")

    def __init__(self, call: frames.Call) -> None:
        self._until = time.monotonic() + call.seconds
        self._metadata = call.metadata
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._trailing: Metadata = ()
        self._failure: Failure | None = None

    def invocation_metadata(self) -> Metadata:
        """What came along with the request."""
        return frames.read_metadata(self._metadata)

    def time_remaining(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._until - time.monotonic())

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with this status, whatever its handler does then."""
        trailing = tuple(trailing_metadata) or self._trailing
        self._failure = Failure(code.value[0], details or self._details, trailing)
        raise Aborted(self._failure)

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        pass

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        self._trailing = tuple(trailing_metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def check(self) -> None:
        """Raises Aborted when the handler has ended the call, or set another code than OK."""
        if self._failure is not None:
            raise Aborted(self._failure)
        if self._code is not grpc.StatusCode.OK:
            raise Aborted(Failure(self._code.value[0], self._details, self._trailing))


class _Connection(asyncio.Protocol):
    """From one client. Until it has said the key, nothing else is taken of it."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._reader = frames.Reader(frames.MOST_HELLO_BYTES)
        self._known = False
        self._loop = asyncio.get_running_loop()
        self._silence: asyncio.TimerHandle | None = None
        self.tasks: dict[int, asyncio.Task[None]] = {}
        """Calls under way, by number."""
        self.ended = asyncio.Event()
        self._late: set[int] = set()
        """Those whose deadline has passed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        self._silence = self._loop.call_later(HELLO_SECONDS, self._refuse, "it did not say who it is")

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self.ended.set()
        if self._silence is not None:
            self._silence.cancel()
        for task in list(self.tasks.values()):
            task.cancel()

    def pause_writing(self) -> None:
        """The client does not read its answers: it gets no further ones."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """End it, with the calls that are under way, once the client has read what was written."""
        for task in list(self.tasks.values()):
            task.cancel()
        self._transport.close()

    def abort(self) -> None:
        """End it at once, also where the client does not read; the calls under way end with it."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, body in self._reader.feed(data):
                if self._transport.is_closing():
                    return
                if kind == frames.CALL and self._known:
                    self._call(number, frames.read_call(body))
                elif kind == frames.CANCEL and self._known:
                    if (task := self.tasks.get(number)) is not None:
                        task.cancel()
                elif kind == frames.HELLO and not self._known:
                    self._hello(number, body)
                else:
                    raise Malformed(f"a frame of kind {kind} where there is none")
        except Malformed as problem:
            self._refuse(str(problem))

    def _hello(self, version: int, key: bytes) -> None:
        if version != frames.VERSION:
            raise Malformed(f"it speaks version {version}, this process {frames.VERSION}")
        try:
            self._server.callers.principal(bearer(key.decode("utf-8", "surrogateescape")))
        except Unauthenticated as problem:
            raise Malformed(str(problem)) from None
        self._known = True
        self._reader.most = self._server.most_received + 2 * frames.MOST_METADATA_BYTES + 64
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._transport.write(frames.frame(frames.WELCOME, version))

    def _refuse(self, why: str) -> None:
        log.log(self._server.refusal_level(), "a local connection is closed: %s", why)
        self.abort()

    def _call(self, number: int, call: frames.Call) -> None:
        server = self._server
        handler = server.handlers.get(call.path)
        if number in self.tasks:
            raise Malformed(f"a second call {number}")
        if handler is None:
            self._fail(number, grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        elif server.stopping:
            self._fail(number, grpc.StatusCode.UNAVAILABLE, "the service is stopping")
        elif len(call.request) > server.most_received:
            self._fail(number, grpc.StatusCode.RESOURCE_EXHAUSTED, _too_large(call.request, server.most_received))
        else:
            task = self.tasks[number] = self._loop.create_task(self._answer(number, handler, call))
            timer = self._loop.call_later(call.seconds, self._too_late, number)  # its caller may stand still
            task.add_done_callback(lambda _: self._done(number, timer))  # also of one that never began

    def _done(self, number: int, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._late.discard(number)
        del self.tasks[number]

    def _too_late(self, number: int) -> None:
        self._late.add(number)
        self.tasks[number].cancel()

    def _fail(self, number: int, code: grpc.StatusCode, details: str) -> None:
        self._transport.write(frames.failed(number, Failure(code.value[0], details)))

    async def _answer(self, number: int, handler: Any, call: frames.Call) -> None:
        try:
            read, write = handler.request_deserializer, handler.response_serializer
            request = call.request if read is None else read(call.request)
            context = LocalContext(call)
            answer = await handler.unary_unary(request, context)
            context.check()
            content: bytes = answer if write is None else write(answer)
            if len(content) > self._server.most_sent:
                text = _too_large(content, self._server.most_sent)
                self._fail(number, grpc.StatusCode.RESOURCE_EXHAUSTED, text)
            else:
                self._transport.write(frames.frame(frames.ANSWER, number, content))
        except asyncio.CancelledError:
            if not self._transport.is_closing():  # also when no client asked for it: else its call would wait
                if number in self._late:
                    self._fail(number, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
                else:
                    self._fail(number, grpc.StatusCode.CANCELLED, "the service cancelled the call")
            raise
        except Aborted as aborted:
            self._transport.write(frames.failed(number, aborted.failure))
        except Exception as error:
            log.exception("%s failed", call.path.decode(errors="replace"))
            self._fail(number, grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")


def _too_large(content: bytes, most: int) -> str:
    return f"a message of {len(content)} bytes is larger than max ({most})"
