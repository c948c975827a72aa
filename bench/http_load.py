"""Requests over kept connections, as fast as they are answered: prepared bytes out, answers counted.

    python -m bench.http_load HOST PORT CONNECTIONS SECONDS < REQUEST

Prints a JSON object: requests a second, the median and the 99th percentile in milliseconds, and answers that were not
200. A client library would take more of the machine than the server that is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop


def whole(answer: bytes) -> bool:
    """Whether an answer of HTTP/1.1 has all of its body, which has a length or comes in chunks."""
    head, mark, body = answer.partition(b"\r\n\r\n")
    if not mark:
        return False
    before, named, length = head.lower().rpartition(b"content-length:")
    if named:
        return len(body) >= int(length.split(b"\r\n", 1)[0])
    if b"transfer-encoding: chunked" not in before + length:
        raise ValueError(f"an answer without the length of its body: {head[:200]!r}")
    return body.endswith(b"0\r\n\r\n")


class Connection(asyncio.Protocol):
    """Sends the request again as soon as its answer is whole."""

    def __init__(self, request: bytes, until: float, ended: asyncio.Future[None]) -> None:
        self._request, self._until, self._ended = request, until, ended
        self._buffer = b""
        self._sent = 0.0
        self.times: list[float] = []
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not whole(self._buffer):
            return
        now = time.perf_counter()
        self.times.append(now - self._sent)
        self.failed += not self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


async def load(host: str, port: int, connections: int, seconds: float, request: bytes) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made, ends = [], []
    for _ in range(connections):
        ended = loop.create_future()
        one = Connection(request, began + seconds, ended)
        await loop.create_connection(lambda one=one: one, host, port)  # type: ignore[misc]
        made.append(one)
        ends.append(ended)
    await asyncio.gather(*ends)
    times = sorted(each for one in made for each in one.times)
    return {
        "rate": len(times) / (time.perf_counter() - began),
        "p50": times[len(times) // 2] * 1e3,
        "p99": times[len(times) * 99 // 100] * 1e3,
        "failed": sum(one.failed for one in made),
    }


if __name__ == "__main__":
    host, port, connections, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(load(host, int(port), int(connections), float(seconds), sys.stdin.buffer.read()))))
