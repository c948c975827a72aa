"""The player of recorded requests: what goes over the wire, and what of the answers counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from bench.player import Recorded, play

RECORDED = Recorded(
    "POST", "/api/log", {"Host": "elsewhere", "Content-Length": "9", "Content-Type": "application/json"}, '{"a":"é"}'
)


def test_a_request_is_played_with_another_text_at_another_address() -> None:
    head, _, body = RECORDED.raw("127.0.0.1:1", {"é": "run"}).partition(b"\r\n\r\n")
    assert body == b'{"a":"run"}'
    assert head.split(b"\r\n") == [
        b"POST /api/log HTTP/1.1",
        b"Host: 127.0.0.1:1",
        b"Content-Type: application/json",
        b"Content-Length: 11",
    ]


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """Answers 200, and 400 to each fourth request, with the request's own body."""
    count = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        with suppress(asyncio.IncompleteReadError):  # the player has gone
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(int(head.rpartition(b": ")[2]))
                count += 1
                status = b"400 Bad" if count % 4 == 0 else b"200 OK"
                writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\nx: y\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()


async def test_only_what_is_answered_with_200_counts(server: str) -> None:
    requests = (RECORDED.raw(server, {"é": str(number)}) for number in range(20))
    played = await play(server, requests, 30.0, 3, keep=True)
    assert played.answers == 15
    assert len({*played.bodies}) == 15
    assert len(played.failed) == 5
    assert played.failed[0].startswith('400: {"a":')
    assert played.rate > 0
