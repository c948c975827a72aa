"""Plays recorded HTTP requests at a server: many connections, each with one request under way.

It does no more than it must, so that what is measured is the server: requests are bytes that were made before, and of
an answer only its status and its length are read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

PATIENCE = 20.0
_FAILED = 5
"""Answers that are kept of those that say no."""
_OWN = frozenset({"host", "content-length", "connection", "accept-encoding"})
"""Headers that the player writes itself."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as a client has sent it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str

    def raw(self, address: str, replaced: Mapping[str, str]) -> bytes:
        """As it goes over the wire to another address, with these texts of its body replaced."""
        body = self.body
        for old, new in replaced.items():
            body = body.replace(old, new)
        data = body.encode()
        kept = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items() if name.lower() not in _OWN)
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: {address}\r\n{kept}Content-Length: {len(data)}\r\n\r\n"
        return head.encode() + data


@dataclass(slots=True)
class Played:
    """What became of them."""

    seconds: float = 0.0
    answers: int = 0
    """With status 200."""
    bodies: list[bytes] = field(default_factory=list)
    """Of these answers, where they are wanted."""
    failed: list[str] = field(default_factory=list)
    """Some of the other answers."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


async def play(
    address: str, requests: Iterable[bytes], seconds: float, connections: int, *, keep: bool = False
) -> Played:
    """Play requests until they are all answered, or the time is over; those that are under way then have `PATIENCE`
    seconds for their answers. `keep`: the bodies of the answers too. Raises OSError, EOFError."""
    given, played = iter(requests), Played()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(_connection(address, given, began + seconds, played, keep))
    played.seconds = time.perf_counter() - began
    return played


async def _connection(address: str, requests: Iterator[bytes], until: float, played: Played, keep: bool) -> None:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        while time.perf_counter() < until and (request := next(requests, None)) is not None:
            writer.write(request)
            try:
                async with asyncio.timeout(until - time.perf_counter() + PATIENCE):
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.readexactly(_length(head))
            except TimeoutError:
                _fail(played, f"no answer for {PATIENCE:.0f} seconds")
                return
            if head[9:12] == b"200":
                played.answers += 1
                if keep:
                    played.bodies.append(body)
            else:
                _fail(played, f"{head[9:12].decode()}: {body[:300].decode(errors='replace')}")
    finally:
        writer.close()


def _fail(played: Played, text: str) -> None:
    if len(played.failed) < _FAILED:
        played.failed.append(text)


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.index(b"\r\ncontent-length:") + 17
    return int(lower[at : lower.index(b"\r\n", at)])
