"""Maintenance of a stream's tables: removes old rows and calls `Stream.tidy`, one step at a time."""

from __future__ import annotations

import math
import time
from datetime import timedelta

from events.log.envelope import Position
from events.streams import retention
from events.streams.storing import Storing, of_a_record
from events.streams.stream import AnyStream
from events.writer.stops import Stops

TIDY_SECONDS = 5.0
"""Seconds between two rounds of `tidy`."""
EXPIRE_SECONDS = 60.0
"""Seconds between two rounds of removing old rows."""


class Upkeep:
    """The maintenance of one stream's tables, between the batches that a process stores."""

    def __init__(self, stream: AnyStream, stops: Stops) -> None:
        self.keep: timedelta | None = None
        """How long rows are kept; None for without a limit."""
        self._stream = stream
        self._stops = stops
        self._place = f"tidying of {stream.topic.name}"
        self._tidy_at = -math.inf
        self._expire_at = -math.inf

    @property
    def due(self) -> bool:
        return self._tidy_at <= time.monotonic()

    async def step(self, storing: Storing) -> None:
        """Do one step. An error is noted, and records are still stored. Raises errors of the connection."""
        more = False
        try:
            more = await self._expire(storing) | await storing.tidy()
        except Exception as error:
            if not of_a_record(error):
                raise
            nowhere = Position(f"tidying.{self._stream.topic.name}", 0, 0)
            self._stops.add(self._place, error, at=nowhere, doing="tidying its tables")
        else:
            self._stops.lift(self._place)
        self._tidy_at = time.monotonic() + (0.0 if more else TIDY_SECONDS)

    async def _expire(self, storing: Storing) -> bool:
        """Whether more rows are too old."""
        if self.keep is None or time.monotonic() < self._expire_at:
            return False
        gone = [await storing.expire(expiring, self.keep) for expiring in self._stream.expiring]
        more = any(count >= retention.ROWS for count in gone)
        self._expire_at = -math.inf if more else time.monotonic() + EXPIRE_SECONDS
        return more
