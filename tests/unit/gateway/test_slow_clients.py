"""Clients that send a head or a body and never end it, or do not read: each is cut, and nothing of it is left.

The gateway runs whole, with a stub for the jobs service, and with bounds of half a second.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from events.process.keys import OWNER, key_path, read_key
from events.process.settings import Settings
from events.process.tasks import end_all
from events.queries.callers import MOST_STRANGERS
from forgelog_pb.jobs.v1.queries_pb2 import FollowLogsRequest, FollowLogsResponse
from services.gateway.front import PREFACE, is_grpc
from services.gateway.server import run
from services.gateway.slow import Counted, Reading

BOUND = 0.5
PATIENCE = 30.0
FOLLOW = "/forgelog.jobs.v1.JobQueries/FollowLogs"
GET = "/forgelog.jobs.v1.JobQueries/GetJob"


class Jobs(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Prints without an end to all followers."""

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()

    def service(self, details: Any) -> Any:
        if details.method == FOLLOW:
            return grpc.unary_stream_rpc_method_handler(self._follow)
        return grpc.unary_unary_rpc_method_handler(self._get)

    async def _follow(self, _: bytes, __: Any) -> AsyncIterator[bytes]:
        self.began.set()
        try:
            while True:
                yield FollowLogsResponse(data=b"x" * 60_000).SerializeToString()
        finally:
            self.ended.set()

    async def _get(self, _: bytes, __: Any) -> bytes:
        return b""


class Gateway:
    def __init__(self, port: int, key: str, jobs: Jobs) -> None:
        self.port, self.key, self.jobs = port, key, jobs

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection whose client buffers little of what it does not read."""
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=plain, limit=1000)

    def head(self, line: str, *more: str) -> bytes:
        host = f"Host: 127.0.0.1:{self.port}"
        return "\r\n".join((line, host, f"Authorization: Bearer {self.key}", *more, "", "")).encode()

    def channel(self) -> Any:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"),)


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    jobs = Jobs()
    stub = grpc.aio.server()
    stub.add_generic_rpc_handlers((jobs,))
    at = stub.add_insecure_port("127.0.0.1:0")
    await stub.start()
    settings = Settings.load(
        data=tmp_path,
        kafka="127.0.0.1:1",  # nobody is there; what is tried here needs no log
        gateway="127.0.0.1:0",
        services={"jobs": f"127.0.0.1:{at}"},
        gateway_head_seconds=BOUND,
        gateway_body_seconds=BOUND,
        gateway_unread_seconds=BOUND,
    )
    port = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(run(settings, started=port.set_result))
    try:
        yield Gateway(await port, read_key(key_path(tmp_path, OWNER)), jobs)
    finally:
        await end_all([running])
        await stub.stop(0)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection is cut."""
    found = b""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionResetError):
            while piece := await reader.read(65536):
                found += piece
    return found


@pytest.mark.parametrize(
    "first",
    [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: ", PREFACE[:20], PREFACE],
    ids=["nothing", "a letter", "half a head", "half a preface", "a preface"],
)
async def test_a_head_that_does_not_end_is_cut(gateway: Gateway, first: bytes) -> None:
    reader, writer = await gateway.connect()
    writer.write(first)
    answer = await rest(reader)
    if first.startswith(b"GET"):
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "deadline_exceeded"
    writer.close()


async def test_a_head_that_comes_by_the_letter_is_cut_too(gateway: Gateway) -> None:
    """It is the whole head that is waited for, not its next byte; also on a connection that had a request before."""
    reader, writer = await gateway.connect()
    writer.write(gateway.head("GET /healthz HTTP/1.1"))
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")

    async def dribble() -> None:
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(BOUND / 10)

    dribbling = asyncio.create_task(dribble())
    assert b"HTTP/1.1 408 " in await rest(reader)
    await end_all([dribbling])
    writer.close()


async def test_a_body_that_does_not_end_is_cut(gateway: Gateway) -> None:
    reader, writer = await gateway.connect()
    writer.write(gateway.head("POST /v1/commands HTTP/1.1", "Content-Type: application/json", "Content-Length: 100"))
    writer.write(b"{")
    answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body did not come within 0.5 s" in answer
    writer.close()


async def test_a_grpc_call_without_its_request_is_refused(gateway: Gateway) -> None:
    async with gateway.channel() as channel:
        never_ends = channel.stream_unary(GET)(metadata=gateway.metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(never_ends, PATIENCE)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not come within 0.5 s" in (refused.value.details() or "")
        assert await channel.unary_unary(GET)(b"", metadata=gateway.metadata) == b"", "the connection is as good as new"


async def test_strangers_do_not_hold_the_calls_that_the_gateway_answers(gateway: Gateway) -> None:
    async with gateway.channel() as channel:
        check = channel.stream_unary("/grpc.health.v1.Health/Check")
        codes: list[grpc.StatusCode] = []
        async with asyncio.timeout(PATIENCE):
            # On a slow machine the first calls have met their bound before the last ones come.
            while grpc.StatusCode.RESOURCE_EXHAUSTED not in codes:
                calls = await asyncio.gather(*(check() for _ in range(2 * MOST_STRANGERS)), return_exceptions=True)
                codes = [each.code() for each in calls if isinstance(each, grpc.aio.AioRpcError)]
                assert len(codes) == 2 * MOST_STRANGERS
        assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) >= MOST_STRANGERS
        assert await channel.unary_unary(GET)(b"", metadata=gateway.metadata, timeout=PATIENCE) == b""


async def test_a_call_that_has_no_request_is_refused(gateway: Gateway) -> None:
    async with gateway.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="the call has no request") as refused:
            await asyncio.wait_for(channel.stream_unary(GET)(iter(()), metadata=gateway.metadata), PATIENCE)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", ["/forgelog.gateway.v1.Commands/Publish", "/grpc.health.v1.Health/Check"])
async def test_a_request_that_is_no_message_is_refused(gateway: Gateway, method: str) -> None:
    async with gateway.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(method)(b"\xff\xff", metadata=gateway.metadata, timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "can't be decoded" in (caught.value.details() or "")


async def test_an_http_stream_that_is_not_read_is_cut(gateway: Gateway) -> None:
    _, writer = await gateway.connect()
    writer.write(gateway.head("GET /v1/jobs/x/logs?follow=true HTTP/1.1"))
    await asyncio.wait_for(gateway.jobs.ended.wait(), PATIENCE)
    writer.transport.abort()


async def test_a_grpc_stream_that_is_not_read_is_cut(gateway: Gateway) -> None:
    async with gateway.channel() as channel:
        request = FollowLogsRequest(job_id="x").SerializeToString()
        call = channel.unary_stream(FOLLOW)(request, metadata=gateway.metadata)
        await call.read()
        await asyncio.wait_for(gateway.jobs.ended.wait(), PATIENCE)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(read_all(call), PATIENCE)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "nothing was read for 0.5 s" in (refused.value.details() or "")


async def read_all(call: Any) -> None:
    while await call.read():
        pass


async def test_a_grpc_connection_that_is_not_read_is_cut(gateway: Gateway) -> None:
    """Its streams may have any room by HTTP/2's own count, which the client chooses."""
    _, writer = await gateway.connect()
    request = FollowLogsRequest(job_id="x").SerializeToString()
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": FOLLOW,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        "authorization": f"Bearer {gateway.key}",
    }
    # RFC 7541, section 6.2.2: literal fields without indexing
    fields = b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in headers.items()
    )
    most = (1 << 31) - 1
    writer.write(PREFACE)
    writer.write(frame(4, 0, 0, struct.pack("!HI", 4, most)))  # SETTINGS: the initial window
    writer.write(frame(8, 0, 0, struct.pack("!I", most - 65_535)))  # WINDOW_UPDATE of the connection
    writer.write(frame(1, 4, 1, fields))  # HEADERS
    writer.write(frame(0, 1, 1, struct.pack("!BI", 0, len(request)) + request))  # DATA, the last
    await asyncio.wait_for(gateway.jobs.ended.wait(), PATIENCE)
    assert gateway.jobs.began.is_set()
    writer.transport.abort()


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """RFC 9113, section 4.1."""
    return struct.pack("!I", len(content))[1:] + struct.pack("!BBI", kind, flags, stream) + content


async def test_a_client_that_reads_slowly_is_served_on(gateway: Gateway) -> None:
    reader, writer = await gateway.connect()
    writer.write(gateway.head("GET /v1/jobs/x/logs?follow=true HTTP/1.1"))
    for _ in range(40):  # four times the bound
        assert len(await reader.readexactly(6000)) == 6000
        await asyncio.sleep(BOUND / 10)
    assert not gateway.jobs.ended.is_set()
    writer.transport.abort()


class FakeTransport:
    waiting = 0

    def write(self, data: bytes) -> None:
        self.waiting += len(data)

    def get_extra_info(self, _: str) -> None:
        """It has no socket."""

    def get_write_buffer_size(self) -> int:
        return self.waiting


def test_what_is_written_meanwhile_does_not_hide_that_a_client_reads() -> None:
    below = FakeTransport()
    transport = Counted(below)  # type: ignore[arg-type]
    reading = Reading(transport)
    assert reading.unread_for(1.0) == 0
    transport.write(b"x" * 100)
    assert [reading.unread_for(float(now)) for now in (2, 3, 4)] == [1, 2, 3]
    transport.write(b"x" * 100)
    assert reading.unread_for(5.0) == 4, "more to read is no reading"
    below.waiting -= 10
    transport.write(b"x" * 10)
    assert reading.unread_for(6.0) == 0, "as much waits as before, but it is other bytes"
    below.waiting = 0
    assert reading.unread_for(60.0) == 0
    assert reading.unread_for(90.0) == 0, "nothing waits"


def test_a_protocol_is_told_by_its_whole_preface() -> None:
    assert [is_grpc(PREFACE[:length]) for length in (0, 3, 23)] == [None, None, None]
    assert is_grpc(PREFACE + b"\0\0") is True
    assert [is_grpc(first) for first in (b"PRI * HTTP/2.0\r\nHost", b"P", b"POST /", b"GET")] == [
        False,
        None,
        False,
        False,
    ]
