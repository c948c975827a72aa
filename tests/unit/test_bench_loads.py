"""What sends requests for benches: when an answer is whole, and from when a request is timed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from bench.http_load import whole
from bench.paced_load import run

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SLOW = 0.05


@pytest.mark.parametrize(
    ("answer", "all_"),
    [
        (ANSWER, True),
        (ANSWER[:-1], False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx: y\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-len", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_is_whole_with_its_length_or_its_last_chunk(answer: bytes, all_: bool) -> None:
    assert whole(answer) is all_


def test_an_answer_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="without the length"):
        whole(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok")


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """Servers of one connection at a time each: the first answers at once, the second after `SLOW` seconds."""
    loop, found, ready = asyncio.new_event_loop(), list[int](), threading.Event()

    async def serve() -> None:
        servers = []
        for delay in (0.0, SLOW):

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float = delay) -> None:
                while await reader.read(1_000):
                    await asyncio.sleep(delay)
                    writer.write(ANSWER)
                writer.close()

            servers.append(await asyncio.start_server(answer, "127.0.0.1", 0))
        found.extend(server.sockets[0].getsockname()[1] for server in servers)
        ready.set()

    async def ended() -> None:
        """All connections are closed."""
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    thread = threading.Thread(target=lambda: (loop.create_task(serve()), loop.run_forever()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield found[0], found[1]
    asyncio.run_coroutine_threadsafe(ended(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    assert not thread.is_alive()


async def test_a_request_that_waits_for_a_connection_is_timed_from_when_it_was_due(ports: tuple[int, int]) -> None:
    targets = [{"port": port, "request": "GET / HTTP/1.1\r\n\r\n"} for port in ports]
    what = {"targets": targets, "rate": 50, "blocks": 1, "block_seconds": 0.2, "connections": 1}
    quick, slow = await run(what)
    assert (quick["requests"], quick["failed"], slow["requests"]) == (10, 0, 10)
    # The last of ten was due after 180 ms, and nine of 50 ms each were before it.
    assert slow["longest"] >= 10 * SLOW * 1e3 - 180 - 1
    assert slow["p50"] > SLOW * 1e3
