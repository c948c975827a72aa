"""Reads events for a writer, with rests when it is woken again and again by records that nobody wants."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection

from events.language.registry import recorded_types
from events.log.tail import Tail
from events.log.wire import MARKER, Raw
from events.writer.deciders import Deciders

READS = 16
"""Reads in a row that brought nothing that is wanted, within `WITHIN`, after which the reader rests."""
WITHIN = 1.0
"""Seconds."""
REST = 0.05
"""Seconds without a fetch. What is wanted waits for at most so long, and only amid what is not."""
BACKLOG = 200
"""Records of one read from which on there is a backlog, which is read without a rest."""


class Noise:
    """Judges what one reader has read. Pure.

    A fetch at the broker ends with any new record, so a context that wants few events of a busy one would be woken by
    each of its appends. A topic can't be left out of a fetch that is under way, so the reader as a whole rests.
    """

    def __init__(self, deciders: Deciders) -> None:
        """What is wanted are markers, and what `deciders` route or dispatch; of events that may wait, and of those that
        are routed by their origin alone, only what this context ordered."""
        self._wanted = frozenset((*recorded_types({*deciders.routed, *deciders.dispatching}), MARKER))
        may_wait = deciders.unhurried - deciders.dispatching.keys()
        self._may_wait = recorded_types(may_wait)
        self._deciders = deciders
        self._vain: deque[float] = deque(maxlen=READS)
        """When the last reads came that brought nothing."""

    def rest(self, raws: Collection[Raw], now: float) -> float:
        """Seconds to fetch nothing for, after this read. `now`: a monotonic time."""
        if len(raws) >= BACKLOG or any(self._wants(raw) for raw in raws):
            self._vain.clear()
            return 0.0
        self._vain.append(now)
        return REST if len(self._vain) == READS and now - self._vain[0] < WITHIN else 0.0

    def _wants(self, raw: Raw) -> bool:
        kind = raw.get("ce_type")
        return kind in self._wanted and (kind not in self._may_wait or self._deciders.has_own_origin(raw))


class Reading:
    """Reads a writer's `Tail`, one read at a time."""

    def __init__(self, deciders: Deciders) -> None:
        self._noise = Noise(deciders)
        self._rests = 0.0
        """Seconds of rest before the next read; 0 if the tail does not rest."""

    async def next(self, tail: Tail, timeout: float) -> list[Raw]:
        """What `Tail.poll_raw` gives. A rest comes first: a task that is cancelled amid one would lose what it read."""
        if self._rests:
            try:
                await asyncio.sleep(self._rests)
            finally:
                self._rests = 0.0
                tail.go_on()
        raws = await tail.poll_raw(timeout)
        if rests := self._noise.rest(raws, time.monotonic()):
            self._rests = rests
            tail.rest()  # in the same step as the read, so that no fetch is sent meanwhile
        return raws
