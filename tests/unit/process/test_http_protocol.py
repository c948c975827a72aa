"""Connections whose client sends what two readers could understand differently, or more than there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState

from events.process.http_protocol import MAX_HEAD_BYTES, MOST_AHEAD, BoundedProtocol, Refusal

HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POST = b"POST /p HTTP/1.1\r\n" + HOST


class Plain(BoundedProtocol):
    def refused(self, refusal: Refusal) -> bytes:
        return orjson.dumps({"error": refusal.text})


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.ended, self.paused = b"", False, False

    def write(self, data: Any) -> None:
        if not self.ended:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Connection:
    """One, with an application that answers each request with what it was."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, list[tuple[bytes, bytes]], bytes]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        config = uvicorn.Config(self._application, interface="asgi3", ws="none", lifespan="off", log_config=None)
        config.load()
        self.transport = Transport()
        self.protocol = Plain(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self.transport)

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        await self.may_answer.wait()
        self.seen.append((scope["method"], scope["path"], scope["headers"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def send(self, *pieces: bytes, turns: int = 4) -> list[int]:
        """The status of all answers until now; `turns` of the loop are given to the application."""
        for piece in pieces:
            self.protocol.data_received(piece)
        for _ in range(turns):
            await asyncio.sleep(0)
        return self.statuses

    @property
    def statuses(self) -> list[int]:
        return [int(each[:3]) for each in self.transport.written.split(b"HTTP/1.1 ")[1:]]

    @property
    def error(self) -> str:
        return str(orjson.loads(self.transport.written.rpartition(b"\r\n\r\n")[2])["error"])


SMUGGLED = {
    "a length and chunks": (POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n", 400),
    "chunks and a length": (POST + CHUNKED + b"Content-Length: 4\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
    "two equal lengths": (POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\n", 400),
    "a list of lengths": (POST + b"Content-Length: 4, 4\r\n\r\n", 400),
    "a signed length": (POST + b"Content-Length: +4\r\n\r\n", 400),
    "a length beyond all numbers": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "another coding before chunks": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "two codings in two headers": (POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n", 501),
    "chunked twice": (POST + CHUNKED + CHUNKED + b"\r\n", 400),
    "another coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "chunks of old": (b"POST /p HTTP/1.0\r\n" + CHUNKED + b"\r\n", 400),
    "chunks in the name": (POST + b"Transfer-Encoding : chunked\r\n\r\n", 400),
    "a folded header": (POST + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
    "a bare line feed": (POST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "a bare carriage return": (POST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n", 400),
    "a null": (POST + b"X: a\0b\r\n\r\n", 400),
    "space before the first header": (b"POST /p HTTP/1.1\r\n " + HOST + b"\r\n", 400),
    "two hosts": (POST + HOST + b"\r\n", 400),
    "no host": (b"POST /p HTTP/1.1\r\n\r\n", 400),
    "no version": (b"GET /p\r\n\r\n", 400),
    "version 2": (b"GET /p HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "a chunk's size in another way": (POST + CHUNKED + b"\r\n0x4\r\nabcd\r\n0\r\n\r\n", 400),
    "a chunk longer than it says": (POST + CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    "a chunk's size with a bare line feed": (POST + CHUNKED + b"\r\n4\nabcd\r\n0\r\n\r\n", 400),
    "a tunnel": (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\n", 501),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_what_could_be_understood_in_two_ways_is_refused(name: str) -> None:
    sent, status = SMUGGLED[name]
    connection = Connection()
    assert await connection.send(sent + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n") == [status]
    assert connection.seen == []
    assert "not HTTP/1.1: " in connection.error
    assert connection.transport.ended
    await connection.send(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n")
    assert connection.seen == []


WHOLE = {
    "plain": b"GET /p%20q?x=%20 HTTP/1.1\r\nHost: a \r\nX:  b \t\r\n\r\n",
    "length": POST + b"Content-Length: 5\r\n\r\nhello",
    "chunks": POST + CHUNKED + b"\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "trailer": POST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nAuthorization: mine\r\n\r\n",
    "upgrade": POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
    "upgrade without a body": b"GET /p HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHost: a\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + POST + b"Content-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("name", WHOLE)
async def test_a_request_is_the_same_however_it_comes(name: str) -> None:
    """Also a second one behind it, and one of which the end came with the beginning of the next."""
    sent = WHOLE[name] * 2
    connection = Connection()
    assert await connection.send(sent) == [200, 200]
    wanted = connection.seen
    assert wanted[0] == wanted[1]
    assert wanted[0][:2] == (("GET", "/p q") if name == "plain" else (wanted[0][0], "/p"))
    assert wanted[0][3] == (b"hello" if wanted[0][0] == "POST" else b"")
    for cut in range(1, len(sent)):
        connection = Connection()
        assert await connection.send(sent[:cut], sent[cut:]) == [200, 200], cut
        assert connection.seen == wanted, cut
    connection = Connection()
    assert await connection.send(*(bytes((each,)) for each in sent)) == [200, 200]
    assert connection.seen == wanted


async def test_a_trailer_and_an_upgrade_are_not_among_the_headers() -> None:
    for name in ("trailer", "upgrade"):
        connection = Connection()
        await connection.send(WHOLE[name])
        names = {header for header, _ in connection.seen[0][2]}
        assert not names & {b"authorization", b"upgrade"}
        assert b"host" in names


async def test_values_are_without_the_spaces_around_them() -> None:
    connection = Connection()
    await connection.send(WHOLE["plain"])
    assert connection.seen[0][2] == [(b"host", b"a"), (b"x", b"b")]


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"GET /p HTTP/1.1\r\n" + HOST, *[b"X: " + b"y" * 4000 + b"\r\n"] * 20], 431),
        ([b"GET /p HTTP/1.1\r\n" + HOST + b"X: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n"], 431),
        ([b"GET /" + b"p" * 4000, *[b"p" * 4000] * 20], 431),
        ([POST + b"X: ", *[b"y" * 4000] * 20], 431),
        ([b"\r\n" * 2000] * 20, 431),
        ([POST + CHUNKED + b"\r\n5;x=", *[b"y" * 4000] * 20], 400),
        ([POST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nX: ", *[b"y" * 4000] * 20], 400),
        ([POST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n", *[b"X: " + b"y" * 4000 + b"\r\n"] * 20], 400),
    ],
    ids=["headers", "at once", "target", "value", "empty lines", "chunk extension", "trailer", "trailers"],
)
async def test_what_has_no_end_is_refused(pieces: Sequence[bytes], status: int) -> None:
    connection = Connection()
    assert await connection.send(*pieces) == [status]
    assert "more than 65536 bytes" in connection.error
    assert connection.seen == []


async def test_a_long_body_in_small_chunks_is_taken() -> None:
    connection = Connection()
    assert await connection.send(POST + CHUNKED + b"\r\n", *[b"1;x=y\r\na\r\n"] * 20_000, b"0\r\n\r\n") == [200]
    assert connection.seen[0][3] == b"a" * 20_000


async def test_requests_that_came_ahead_are_answered_in_their_order_up_to_a_bound() -> None:
    connection = Connection()
    connection.may_answer.clear()
    each = [b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in range(MOST_AHEAD + 10)]
    assert await connection.send(b"".join(each[: MOST_AHEAD + 1])) == []
    assert connection.transport.paused
    connection.may_answer.set()
    assert await connection.send(turns=4 * MOST_AHEAD) == [200] * (MOST_AHEAD + 1)
    assert [path for _, path, _, _ in connection.seen] == [f"/{number}" for number in range(MOST_AHEAD + 1)]
    assert not connection.transport.ended
    connection.may_answer.clear()
    await connection.send(b"".join(each))
    connection.may_answer.set()
    assert await connection.send(turns=4 * MOST_AHEAD) == [200] * 2 * (MOST_AHEAD + 1)
    assert connection.transport.ended, "the rest is not answered, so that the client knows that it was not taken"


async def test_what_comes_after_a_request_does_not_take_its_answer() -> None:
    connection = Connection()
    connection.may_answer.clear()
    assert await connection.send(WHOLE["length"] + b"nonsense\r\n\r\n") == []
    connection.may_answer.set()
    assert await connection.send() == [200]
    assert connection.transport.ended


async def test_a_body_that_breaks_takes_no_answer_of_another() -> None:
    connection = Connection()
    assert await connection.send(POST + CHUNKED + b"\r\n1\r\na\r\n", b"nonsense\r\n") == [400]
    assert connection.seen == []
    assert "the request's body is not HTTP/1.1: illegal body: Invalid character in chunk size" in connection.error
    connection = Connection()
    connection.may_answer.clear()
    await connection.send(WHOLE["length"] + POST + CHUNKED + b"\r\n1\r\na\r\n", b"nonsense\r\n")
    connection.may_answer.set()
    assert await connection.send() == []
    assert connection.transport.ended


async def test_a_closed_connection_takes_no_further_request() -> None:
    connection = Connection()
    one = b"GET /p HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    assert await connection.send(one * 2) == [200]
    assert b"connection: close" in connection.transport.written
    assert connection.transport.ended
