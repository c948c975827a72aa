"""What is not one request and one answer: gRPC, WebSocket, streams of events, TLS, ports of endpoints' own; and what no
client should send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from forgelog.embedded.ports import free_port
from services.deployments.router.access_log import AccessLog
from services.deployments.router.listeners import LOG_FILE
from tests.integration.router.rig import SAFETY_SECONDS, Rig, raw, revision, until, upstreams


@asynccontextmanager
async def grpc_replica() -> AsyncIterator[int]:
    """Answers each message of any stream as it comes."""

    async def echo(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    class Any_(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            return grpc.stream_stream_rpc_method_handler(echo)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Any_(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_grpc_streams_pass_by_the_deployments_name_in_the_metadata(router: Rig) -> None:
    own = free_port()
    async with grpc_replica() as port, grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel:
        endpoints = [{"name": "grpc", "type": "grpc", "replica_port": "grpc", "port": own}]
        table = router.table(revision(1, 10_000, port), endpoints=endpoints)
        await router.put(table)
        method = "/inference.GRPCInferenceService/ModelStreamInfer"

        async def said(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> list[bytes]:
            call = channel.stream_stream(method)(metadata=metadata, timeout=SAFETY_SECONDS, wait_for_ready=True)
            answers = []
            for message in (b"one", b"two"):
                await call.write(message)
                answers.append(await call.read())  # before the next is sent: nothing is kept back
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            return answers

        for name in (table["name"], table["deployment_id"], f"local/default/{table['name']}"):
            assert await said(channel, (("forgelog-model", name),)) == [b"one", b"two"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{own}") as alone:
            assert await said(alone, ()) == [b"one", b"two"]
        # Nothing is sent here: what is sent to a call that has ended may be told as INTERNAL by gRPC's own core.
        refused = channel.stream_stream(method)(metadata=(("forgelog-model", "other"),), timeout=SAFETY_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await refused.read()
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_grpc_call_waits_for_a_replica_and_is_refused_with_a_status(router: Rig) -> None:
    async with grpc_replica() as port, grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel:
        endpoints = [{"name": "grpc", "type": "grpc", "replica_port": "grpc"}]
        table = router.table(revision(1, 10_000), endpoints=endpoints)
        await router.put(table)
        metadata = (("forgelog-model", table["name"]),)
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        waiting = asyncio.ensure_future(ask(b"one", metadata=metadata, timeout=SAFETY_SECONDS))
        await until(lambda: router.companion.holding.held[table["deployment_id"]] == 1)
        await router.put({**table, "revisions": [revision(1, 10_000, port)]})
        assert await waiting == b"one"
        await router.put({**table, "cold_start_seconds": 0.05})
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask(b"one", metadata=metadata, timeout=SAFETY_SECONDS)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_websocket_stays_open_while_the_routes_change(router: Rig) -> None:
    async with upstreams("a") as (a,):
        endpoints = [{"name": "ws", "type": "websocket", "path": "/ws"}, {"name": "rest", "type": "rest"}]
        table = router.table(revision(1, 10_000, a), endpoints=endpoints)
        start = f"/serve/local/default/{table['name']}"
        await router.put(table)
        head = "host: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", router.config.port)
        writer.write(f"GET {start}/ws HTTP/1.1\r\n{head}sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
        async with asyncio.timeout(SAFETY_SECONDS):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"before")
            assert await reader.readexactly(6) == b"before"
            await router.put({**table, "revisions": [revision(1, 10_000, a), revision(2, 0)], "rules": []})
            await router.put({**table, "session": {"enabled": True}})
            writer.write(b"after")
            assert await reader.readexactly(5) == b"after"
        writer.close()
        refused = await raw(
            router.config.port,
            f"GET {start}/v2 HTTP/1.1\r\n{head}sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode(),
        )
        assert b" 403 " in refused.partition(b"\r\n")[0]


async def test_a_websocket_that_its_replica_ends_is_no_failure_of_the_replica(router: Rig) -> None:
    """It is ended so whenever a client closes it as it should, or says what no WebSocket may say."""
    async with upstreams("a") as (a,), router.client() as client:
        endpoints = [{"name": "ws", "type": "websocket", "path": "/ws"}, {"name": "rest", "type": "rest"}]
        table = router.table(revision(1, 10_000, a), endpoints=endpoints)
        start = f"/serve/local/default/{table['name']}"
        await router.put(table)
        head = "host: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        request = f"GET {start}/ws HTTP/1.1\r\n{head}sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", router.config.port)
            writer.write(request)
            async with asyncio.timeout(SAFETY_SECONDS):
                assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
                writer.write(b"bye")
                assert await reader.read() == b""
            writer.close()
            assert (await client.get(f"{start}/v2")).status_code == 200


async def test_events_come_as_the_replica_sends_them(router: Rig) -> None:
    sent = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: 1\n\n")
        await sent.wait()
        writer.write(b"data: 2\n\n")
        writer.close()

    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    async with server, router.client() as client:
        table = router.table(revision(1, 10_000, server.sockets[0].getsockname()[1]))
        await router.put(table)
        async with client.stream("GET", f"/serve/local/default/{table['name']}/generate_stream") as answer:
            events = answer.aiter_text()
            assert await anext(events) == "data: 1\n\n"  # while the rest is not there yet
            sent.set()
            assert await anext(events) == "data: 2\n\n"


async def test_the_log_says_what_a_replica_tells_in_its_trailer(router: Rig) -> None:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"9\r\ndata: 1\n\n\r\n0\r\nserver-timing: infer;dur=7\r\n\r\n")
        writer.close()

    logged: list[dict[str, Any]] = []
    log = AccessLog(router.config.folder / LOG_FILE, lambda: router.envoy.post("/reopen_logs"))
    following = asyncio.create_task(log.follow(logged.extend))
    await asyncio.sleep(0)  # it has opened the file
    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    async with server, router.client() as client:
        table = router.table(revision(1, 10_000, server.sockets[0].getsockname()[1]))
        await router.put(table)
        answer = await client.get(f"/serve/local/default/{table['name']}/generate_stream")
        assert (answer.status_code, answer.text) == (200, "data: 1\n\n")
        await until(lambda: any(line["deployment"] == table["deployment_id"] for line in logged))
    following.cancel()
    lines = [line for line in logged if line["deployment"] == table["deployment_id"]]
    assert [line["trailing_timing"] for line in lines] == ["infer;dur=7"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        # Two lengths, and a length besides chunks: what one server takes for a body is the next request to another.
        (b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 30\r\n\r\nabc", b"400"),
        (b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST %s HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", b"501"),
        (b"POST %s HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\nabc", b"400"),
        (b"POST %s HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET %s HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n", b"400"),
        (b"GET %s HTTP/1.1\r\n\r\n", b"400"),
        (b"GET %s%%2f..%%2fv2 HTTP/1.1\r\nhost: a\r\n\r\n", b"400"),
        (b"GET %s HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(200)) + b"\r\n", b"431"),
        (b"GET %s HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
        (b"\x00\x01\x02\r\n\r\n", b"400"),
        # a page whose name points to this machine (DNS rebinding)
        (b"GET %s HTTP/1.1\r\nhost: page.example\r\nconnection: close\r\n\r\n", b"404"),
        (b"GET %s HTTP/1.1\r\nhost: localhost.page.example:7080\r\nconnection: close\r\n\r\n", b"404"),
    ],
)
async def test_hostile_requests_get_to_no_replica(router: Rig, request_: bytes, status: bytes) -> None:
    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(revision(1, 10_000, a))
        path = f"/serve/local/default/{table['name']}/"
        await router.put(table)
        answer = await raw(router.config.port, request_.replace(b"%s", path.encode()).replace(b"%%", b"%"))
        assert answer.split(b" ")[1:2] == [status], answer[:300]
        words = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert len(words) > 10, answer  # of a path that can be read in two ways they were empty
        assert a.got == []
        assert (await client.get(path)).status_code == 200


async def test_a_path_can_not_climb_out_of_its_deployment(router: Rig) -> None:
    async with upstreams("a", "b") as (a, b):
        mine, other = router.table(revision(1, 10_000, a)), router.table(revision(1, 10_000, b))
        await router.put(mine)
        await router.put(other)
        path = f"/serve/local/default/{mine['name']}/../{other['name']}/x"
        await raw(router.config.port, f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        # It is the other one's path, before anything looks at it: that one's guards count.
        assert (a.got, [request["line"] for request in b.got]) == ([], ["GET /x HTTP/1.1"])
