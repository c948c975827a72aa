"""Services' own ports take calls with the platform's key only; the health check alone stays open."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from events.process.keys import new_api_key
from events.process.settings import Settings, SettingsError
from events.queries import callers
from events.queries.callers import (
    MOST_STRANGERS,
    PLATFORM,
    Authenticated,
    Callers,
    Unauthenticated,
    bearer,
    service_channel,
    services_key,
    services_key_path,
)
from events.queries.guard import Guarded
from events.queries.reflection import ALPHA, V1, enable_reflection

KEY = new_api_key()

NOT_OURS: list[Any] = [
    pytest.param((), id="none"),
    pytest.param((("x-authorization", f"Bearer {KEY}"),), id="another header"),
    pytest.param((("authorization", KEY),), id="no scheme"),
    pytest.param((("authorization", f"Basic {KEY}"),), id="another scheme"),
    pytest.param((("authorization", "Bearer "),), id="empty"),
    pytest.param(bearer(new_api_key()), id="another platform's key"),
    pytest.param(bearer(KEY[:-1]), id="a part of the key"),
    pytest.param(bearer(KEY + "x"), id="more than the key"),
    pytest.param((*bearer(KEY), *bearer(new_api_key())), id="two keys"),
    pytest.param((("authorization", f"Bearer {KEY[:-1]}é"),), id="not ASCII"),
    pytest.param((("authorization", b"Bearer"),), id="bytes"),
]


@pytest.mark.parametrize("metadata", NOT_OURS)
def test_a_call_without_the_key_is_nobodys(metadata: Any) -> None:
    with pytest.raises(Unauthenticated) as refused:
        Callers(KEY).principal(metadata)
    assert KEY not in str(refused.value)


def test_a_call_with_the_key_is_the_platforms() -> None:
    assert Callers(KEY).principal((("traceparent", "00"), *bearer(KEY))) == PLATFORM


def test_the_processes_of_a_platform_share_one_key_that_its_user_alone_can_read(tmp_path: Path) -> None:
    one, other = Settings(data=tmp_path), Settings(data=tmp_path)
    assert services_key(one) == services_key(other)
    assert stat.S_IMODE(services_key_path(one).stat().st_mode) == 0o600
    apart = Settings(data=tmp_path, services_key_file=tmp_path / "apart.key")
    assert services_key(apart) not in (services_key(one), "")


def test_a_key_that_others_can_read_opens_nothing(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    key = services_key(settings)
    services_key_path(settings).chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by other users") as refused:
        services_key(settings)
    assert key not in str(refused.value)


async def unary(_request: bytes, _context: Any) -> bytes:
    return b"answer"


async def stream(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
    yield b"answer"


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """A service with a query, a stream, reflection and health."""
    server = grpc.aio.server(maximum_concurrent_rpcs=2 * MOST_STRANGERS)
    known = Authenticated(server, Callers(KEY))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, bytes, bytes),
        "Stream": grpc.unary_stream_rpc_method_handler(stream, bytes, bytes),
    }
    Guarded(known, "test").add_registered_method_handlers("test.Queries", handlers)
    enable_reflection(["test.Queries"], known)
    checks = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(checks, known)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def call(channel: grpc.aio.Channel, method: str) -> bytes:
    """The first answer of any method."""
    reflection = reflection_pb2.ServerReflectionRequest(list_services="")
    asked = b"" if method.endswith("Watch") else reflection.SerializeToString()
    if method.endswith("Unary"):
        return await channel.unary_unary(method)(b"", timeout=30)  # type: ignore[no-any-return]
    calls = channel.unary_stream(method)(asked, timeout=30)
    async for answer in calls:
        return answer  # type: ignore[no-any-return]
    raise AssertionError("no answer")


METHODS = (
    "/test.Queries/Unary",
    "/test.Queries/Stream",
    f"/{ALPHA}/ServerReflectionInfo",
    f"/{V1}/ServerReflectionInfo",
    # A stream that ends when its caller likes: strangers could take all the places that a service has for calls.
    "/grpc.health.v1.Health/Watch",
)


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_needs_the_key(address: str, method: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, method)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "keys/services.key" in str(refused.value.details())
    async with service_channel(address, new_api_key()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, method)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    async with service_channel(address, KEY) as channel:
        assert await call(channel, method)


async def test_whether_it_serves_is_told_to_anybody(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_strangers_do_not_hold_the_calls_that_a_service_answers(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins to ask whether it serves, and never ends. None is cut meanwhile, however slow the machine is."""
    monkeypatch.setattr(callers, "STRANGERS_SECONDS", 3600.0)
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(60):
        check = channel.stream_unary("/grpc.health.v1.Health/Check")
        waiting = {asyncio.ensure_future(check()) for _ in range(3 * MOST_STRANGERS)}
        while len(waiting) > MOST_STRANGERS:
            ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                assert isinstance(error := each.exception(), grpc.aio.AioRpcError)
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        async with service_channel(address, KEY) as ours:
            assert await call(ours, "/test.Queries/Unary") == b"answer"
            answer = await health_pb2_grpc.HealthStub(ours).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert not any(each.done() for each in waiting)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)


async def test_a_stranger_that_never_ends_its_request_is_cut(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "STRANGERS_SECONDS", 0.05)
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(60):
        waiting = [channel.stream_unary("/grpc.health.v1.Health/Check")() for _ in range(MOST_STRANGERS // 2)]
        for each in waiting:
            with pytest.raises(grpc.aio.AioRpcError, match="the request did not come within"):
                await each


async def test_a_method_that_does_not_exist_is_not_refused_for_the_key(address: str) -> None:
    async with service_channel(address, KEY) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, "/test.Queries/NoUnary")
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
