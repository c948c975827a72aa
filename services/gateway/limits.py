"""Bounded work in flight: above the limit a request is told to come back, instead of making all the others slow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from services.gateway import metrics
from services.gateway.errors import DoorError


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most requests of each kind at a time. Their memory is what is bounded: a command may have 1 MB."""

    commands: int = 1_000
    """Commands being published."""
    waiting: int = 10_000
    """Commands whose outcome is waited for."""
    queries: int = 1_000
    streams: int = 2_000


class Limit:
    """Counts the requests of one kind."""

    def __init__(self, kind: str, most: int) -> None:
        self._kind = kind
        self._most = most
        self._count = 0
        self._gauge = metrics.in_flight.labels(kind)

    @property
    def count(self) -> int:
        return self._count

    @contextmanager
    def take(self, count: int = 1) -> Iterator[None]:
        """Raises DoorError(RESOURCE_EXHAUSTED) when there is no room for `count` more."""
        if self._count + count > self._most:
            raise DoorError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._count} {self._kind} are in hand already, of {self._most} at most; try again in a second",
                retry_after=1.0,
            )
        self._count += count
        self._gauge.inc(count)
        try:
            yield
        finally:
            self._count -= count
            self._gauge.dec(count)
