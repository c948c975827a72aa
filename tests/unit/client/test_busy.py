"""A platform that is too busy: when the client comes again, and what it says when it gives up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from forgelog.client import channel
from forgelog.client.channel import Connection, come_again_after
from forgelog.errors import Busy, Refused, Unavailable
from services.gateway.errors import trailing_metadata
from services.gateway.limits import exhausted


def failed(details: str = "too much", hint: float | None = None) -> AioRpcError:
    trailing = Metadata(*trailing_metadata(exhausted("too much", hint))) if hint else Metadata()
    return AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, Metadata(), trailing, details)


class Server:
    """Answers each call with the next of these."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.called: list[float] = []

    async def __call__(self, request: Any, timeout: float) -> Any:
        self.called.append(time.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_it_comes_again_no_earlier_than_asked() -> None:
    server = Server(failed(hint=0.2), failed(hint=0.3), "done")
    assert await Connection("127.0.0.1:1").call(server, None, timeout=10) == "done"
    first, second, third = server.called
    assert second - first >= 0.2
    assert third - second >= 0.3


async def test_it_gives_up_when_its_time_does_not_reach_that_far() -> None:
    server = Server(failed(hint=5.0))
    with pytest.raises(Busy) as caught:
        await asyncio.wait_for(Connection("127.0.0.1:1").call(server, None, timeout=2, what="publish"), 1)
    assert len(server.called) == 1
    assert caught.value.retry_after == 5.0
    assert caught.value.exit_code == 75
    assert "has too much to do" in str(caught.value)


async def test_a_busy_platform_is_there_however_late_it_answers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "FIRST_CONTACT", 0.0)
    server = Server(failed(hint=0.1), failed(hint=0.1), "done")
    assert await Connection("127.0.0.1:1").call(server, None, timeout=10) == "done"


async def test_a_call_that_the_server_cancels_is_made_again() -> None:
    cancelled = AioRpcError(grpc.StatusCode.CANCELLED, Metadata(), Metadata(), "")
    assert await Connection("127.0.0.1:1").call(Server(cancelled, "done"), None, timeout=10) == "done"


async def test_a_message_that_is_too_large_is_not_sent_again() -> None:
    server = Server(failed("Received message larger than max"))
    with pytest.raises(Refused) as caught:
        await Connection("127.0.0.1:1").call(server, None, timeout=10)
    assert not isinstance(caught.value, Busy)
    assert len(server.called) == 1
    assert come_again_after(failed("Concurrent RPC limit exceeded!")) is not None


async def test_another_server_than_a_gateway_is_named() -> None:
    proxy = AioRpcError(grpc.StatusCode.UNIMPLEMENTED, Metadata(), Metadata(), "Received http2 header with status: 404")
    with pytest.raises(
        Unavailable, match=r"what answers at 127.0.0.1:1 is no platform's gateway .*--gateway"
    ) as caught:
        await Connection("127.0.0.1:1").call(Server(proxy), None, timeout=10)
    assert caught.value.exit_code == 69
