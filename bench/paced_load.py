"""Requests at a fixed schedule, whatever becomes of those before: each is timed from when it was due.

    python -m bench.paced_load < WHAT

WHAT is a JSON object: `targets` (each with `port` and `request`, as latin-1 text), `rate` (requests a second), `blocks`
(of each target), `block_seconds`, `connections` (of each target). The targets have their blocks in turn (A B B A ...),
so that what else the machine does meets all of them; a first block of each is not counted. A request that finds no free
connection waits for one, and its time counts.

Prints, for each target, requests, those whose answer was not 200, and the median, the 99th percentile and the longest
time in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import sys
from collections import deque
from typing import Any

from bench.http_load import whole


class Target:
    """One server, its connections and the times of its requests."""

    def __init__(self, port: int, request: bytes) -> None:
        self.port, self.request = port, request
        self.free: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        """When those were due that no connection was free for."""
        self.times: list[float] = []
        self.failed = 0
        self.counting = False
        self.in_flight = 0

    def due(self, at: float) -> None:
        self.in_flight += 1
        if self.free:
            self.free.pop().send(at)
        else:
            self.waiting.append(at)

    def answered(self, connection: Connection, took: float, *, good: bool) -> None:
        self.in_flight -= 1
        if self.counting:
            self.times.append(took)
            self.failed += not good
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.free.append(connection)

    def told(self) -> dict[str, float]:
        times = sorted(self.times)
        milliseconds = {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100], "longest": times[-1]}
        return {
            "requests": len(times),
            "failed": self.failed,
            **{name: value * 1e3 for name, value in milliseconds.items()},
        }


class Connection(asyncio.Protocol):
    """Sends one request at a time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._target.free.append(self)

    def send(self, due: float) -> None:
        self._due = due
        self._transport.write(self._target.request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if whole(self._buffer):
            good = self._buffer.startswith(b"HTTP/1.1 200")
            self._buffer = b""
            self._target.answered(self, self._loop.time() - self._due, good=good)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._target.free or self not in self._target.free:
            raise ConnectionError(f"port {self._target.port} closed a connection amid a request") from error
        self._target.free.remove(self)


async def run(what: dict[str, Any]) -> list[dict[str, float]]:
    loop = asyncio.get_running_loop()
    broken: list[BaseException] = []
    loop.set_exception_handler(
        lambda _, context: broken.append(context.get("exception") or OSError(context["message"]))
    )
    targets = [Target(each["port"], each["request"].encode("latin-1")) for each in what["targets"]]
    for target in targets:
        for _ in range(what["connections"]):
            await loop.create_connection(lambda target=target: Connection(target), "127.0.0.1", target.port)  # type: ignore[misc]
    in_turn = [order for number in range(what["blocks"] + 1) for order in (targets if number % 2 else targets[::-1])]
    began = loop.time()
    for number, target in enumerate(in_turn):
        target.counting = number >= len(targets)
        requests = round(what["block_seconds"] * what["rate"])
        for due in (began + each / what["rate"] for each in range(requests)):
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            target.due(due)
        while target.in_flight and not broken:  # the next block begins with nothing in flight
            await asyncio.sleep(0.001)
        if broken:
            raise broken[0]
        began = max(began + what["block_seconds"], loop.time())
    for target in targets:
        for connection in [*target.free]:
            connection.close()
    return [target.told() for target in targets]


if __name__ == "__main__":
    # Of all selectors this one alone waits for less than a millisecond.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    print(json.dumps(loop.run_until_complete(run(json.load(sys.stdin)))))
