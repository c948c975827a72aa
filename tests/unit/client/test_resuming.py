"""Streams that begin again: how long a client is patient, and that pings keep a quiet connection."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from events.process.channels import ACCEPTED, VARIABLE, client_options, server_options
from events.process.retry_hint import retry_metadata
from forgelog.client import channel
from forgelog.client.channel import Connection
from forgelog.errors import InvalidInput, Unavailable

ROOT = Path(__file__).parents[3]
HOUR = 3600.0
GONE = AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), "Socket closed")


def away(seconds: float) -> AioRpcError:
    """A platform that answers that it can't answer now."""
    code = grpc.StatusCode.UNAVAILABLE
    trailing = Metadata(*retry_metadata(code.value[0], "away", seconds))
    return AioRpcError(code, Metadata(), trailing, "the database can't be reached; ask again")


class Clock:
    """Time that passes when something is slept through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(channel, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(channel, "asyncio", SimpleNamespace(sleep=self.sleep))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Call:
    """A stream: whether it is accepted, the messages, how long it is quiet, and how it ends."""

    def __init__(
        self, clock: Clock, *messages: str, accepted: bool = False, quiet: float = 0.0, ends: Exception | None = None
    ) -> None:
        self._clock, self._messages, self._accepted, self._quiet, self._ends = clock, messages, accepted, quiet, ends

    async def initial_metadata(self) -> Any:
        return Metadata(ACCEPTED) if self._accepted else Metadata()

    async def __aiter__(self) -> AsyncIterator[str]:
        for message in self._messages:
            yield message
        self._clock.now += self._quiet
        if self._ends is not None:
            raise self._ends

    def cancel(self) -> None:
        pass


async def followed(*calls: Call, timeout: float = 30.0) -> list[str]:
    """All messages of these streams, one after the other; the last one is repeated."""
    left = list(calls)

    def method(_: Any, **__: Any) -> Call:
        return left.pop(0) if len(left) > 1 else left[0]

    stream = Connection("127.0.0.1:1", timeout=timeout).resumed(method, lambda: None, endless=False)
    return [message async for message in stream]


async def test_a_quiet_stream_that_breaks_after_an_hour_begins_again(clock: Clock) -> None:
    quiet = Call(clock, accepted=True, quiet=HOUR, ends=GONE)
    assert await followed(quiet, Call(clock, ends=GONE), Call(clock, "on")) == ["on"]


async def test_patience_is_counted_from_the_last_message(clock: Clock) -> None:
    spoke = Call(clock, "one", quiet=HOUR, ends=GONE)
    assert await followed(spoke, Call(clock, ends=GONE), Call(clock, "two")) == ["one", "two"]


async def test_patience_ends(clock: Clock) -> None:
    spoke = Call(clock, "one", ends=GONE)
    began = clock.now
    with pytest.raises(Unavailable, match="no platform answers"):
        await followed(spoke, Call(clock, ends=GONE), timeout=30)
    assert 30 < clock.now - began < 33


async def test_a_platform_that_never_answered_is_not_waited_for_as_long(clock: Clock) -> None:
    began = clock.now
    with pytest.raises(Unavailable, match="no platform answers"):
        await followed(Call(clock, ends=GONE), timeout=30)
    assert clock.now - began < channel.FIRST_CONTACT + 2


async def test_a_platform_that_asks_to_come_again_is_obeyed_and_not_called_absent(clock: Clock) -> None:
    spoke = Call(clock, "one", ends=away(5.0))
    began = clock.now
    assert await followed(spoke, Call(clock, "two")) == ["one", "two"]
    assert clock.now - began >= 5
    with pytest.raises(Unavailable, match="can't answer now: the database can't be reached"):
        await followed(Call(clock, ends=away(5.0)))


async def one_quiet_stream(server_takes: list[tuple[str, int]]) -> grpc.StatusCode:
    """How a stream ends on which nothing is said for the time of seven pings."""

    async def stream(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        await asyncio.sleep(7)
        yield b"at last"

    server = grpc.aio.server(options=server_takes)
    handlers = {"Follow": grpc.unary_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Queries", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=client_options(1 << 20)) as channel:
        call: Any = channel.unary_stream("/test.Queries/Follow")(b"")
        with suppress(AioRpcError):
            assert [message async for message in call] == [b"at last"]
        code: grpc.StatusCode = await call.code()
    await server.stop(0)
    return code


async def test_any_number_of_pings_is_taken_and_a_lost_connection_not_written_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With gRPC's own options a server ends the connection after a few pings, and its core writes that to the terminal:
    so here, in a process that has nothing but the client."""
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    code = "import forgelog.client.channel; from tests.unit.client.test_resuming import *; print(asyncio.run(theirs()))"
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert await one_quiet_stream(server_options(most_received=1 << 20, most_sent=1 << 20)) is grpc.StatusCode.OK
    assert await other.communicate() == (b"StatusCode.UNAVAILABLE\n", b"")


async def theirs() -> grpc.StatusCode:
    return await one_quiet_stream([])


@pytest.mark.parametrize("text", ["0", "0.5", "often", "1e9", "nan"])
def test_a_wrong_interval_is_said(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(InvalidInput, match=f"{VARIABLE}: should be"):
        _ = Connection("127.0.0.1:1").channel
