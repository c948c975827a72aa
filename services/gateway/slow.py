"""Clients that are slow on purpose: a head or a body that never ends, a stream that nobody reads.

Each would hold a place of a connection, a call or a stream, and places are few. The times are generous to bad
networks; who needs more sets ``FORGELOG_GATEWAY_*_SECONDS``. This module measures and says who is late; the protocols
of connections cut, and `services.gateway.slow_calls` does the same for single gRPC calls.
"""

from __future__ import annotations

import asyncio
import fcntl
import termios
import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from services.gateway import metrics

Late = Literal["head", "body", "unread"]
"""What a client is late with: the head of a request, its body, or reading what is written to it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a client may take."""

    head: float = 10.0
    """From a connection's beginning, or a request's first byte, until its head is there."""
    body: float = 30.0
    """From the head until the body is there."""
    unread: float = 30.0
    """Without reading anything of what waits for it."""


class Counted:
    """A transport that knows how much was written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0

    def write(self, data: Any) -> None:
        self.written += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Reading:
    """How the client of a connection reads what is written to it."""

    def __init__(self, transport: Counted) -> None:
        self._transport = transport
        self._taken = -1
        self._since = 0.0

    def unread_for(self, now: float) -> float:
        """Seconds since it last took anything, as far as this was asked; 0 when nothing waits for it."""
        waiting = self._transport.get_write_buffer_size()
        taken = self._transport.written - waiting - (_unsent(self._transport) if waiting else 0)
        if not waiting or taken != self._taken:
            self._taken, self._since = taken, now
        return now - self._since


def _unsent(transport: Counted) -> int:
    """Bytes that the system has and the client's machine has not; 0 where the system does not say. It takes more only
    when much of what it has is gone, so that a slow client would seem to read nothing for a long time."""
    found = array("i", (0,))
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, found)
    except (OSError, ValueError, AttributeError):
        return 0
    return found[0]


class Watched(Protocol):
    """A connection."""

    def late(self, now: float, patience: Patience) -> Late | None:
        """What its client is late with."""

    def cut(self, late: Late, patience: Patience) -> None:
        """End it."""


async def watch(patience: Patience, connections: Callable[[], Iterable[Watched]]) -> None:
    """Cut connections whose clients are late. Runs until it is cancelled."""
    pause = min(1.0, min(patience.head, patience.body, patience.unread) / 4)
    while True:
        await asyncio.sleep(pause)
        now = time.monotonic()
        for connection in list(connections()):
            if (late := connection.late(now, patience)) is not None:
                metrics.cut.labels(late).inc()
                connection.cut(late, patience)
