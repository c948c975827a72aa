"""What a writer knows of its own events unread: which are valid, and which concern its own states. No I/O.

A record is void only if a newer marker precedes it (see `events.log.positions`). Offsets are given out one after the
other: if those of a writer's appends follow each other, from its marker on, nobody else has written in between, so what
it appended is valid. Where one does not follow, somebody has written: another writer's marker, or what a former writer
still sent. What comes behind such a gap is known once the gap has been read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from events.log import topics
from events.log.positions import ReaderPosition
from events.log.wire import Raw
from events.writer.deciders import Deciders
from events.writer.encoding import Placed, Unit

MOST_AT_ONCE = 2_000
"""Events that `take` gives at most, as many as a reader gives."""
MOST_KEPT = 20_000
"""Kept events beyond which they are dropped, to be read."""


class OwnEvents:
    """The events that one partition's writer has appended."""

    __slots__ = ("_deciders", "_epoch", "_follows_from", "_keeps", "_kept", "_kept_from", "_number", "_topic", "end")

    def __init__(self, deciders: Deciders, number: int) -> None:
        self.end = 0
        """Behind the last of them."""
        self._deciders = deciders
        self._topic = topics.events(deciders.context)
        self._number = number
        self._keeps = deciders.context in deciders.foreign and not deciders.dispatching
        self._epoch = -1
        self._follows_from = 0
        """From here on all offsets follow each other."""
        self._kept: deque[Raw] = deque()
        """Those that concern states of this context and were not taken."""
        self._kept_from = 0
        """From here on all such events were kept or taken."""

    def begin(self, epoch: int) -> None:
        """Start an epoch; its marker is appended."""
        self._epoch = epoch
        self._follows_from = epoch + 1
        self.end = epoch + 1
        self.reread()

    def reread(self) -> None:
        """Let all events up to the end be read: the reader has been moved back, for example."""
        self._kept.clear()
        self._kept_from = self.end

    def concerning(self, placed: Sequence[Placed]) -> tuple[int, ...]:
        """Which of a unit's events concern states of this context."""
        if not self._keeps:
            return ()
        routes = self._deciders.routes
        return tuple([number for number, each in enumerate(placed) if routes(type(each[0])) and self._concerns(each)])

    def _concerns(self, placed: Placed) -> bool:
        event, *_, origin = placed
        try:
            return bool(self._deciders.concerned(event, origin))
        except Exception:  # noqa: BLE001 - the route raises again when the event is given to it, which stops its place
            return True

    def appended(self, unit: Unit, offset: int) -> int:
        """Note that a unit's records are in the log, from `offset` on. Returns the offset behind them."""
        if offset != self.end:
            self._follows_from = self.end = max(self.end, offset)
        for number in unit.concerns:
            self._kept.append(unit.records[number].at(self._topic, self._number, offset + number))
        self.end = max(self.end, offset + len(unit.records))
        if len(self._kept) > MOST_KEPT:
            self.reread()
        return self.end

    def _is_valid_behind(self, read: ReaderPosition) -> bool:
        return read.epoch == self._epoch >= 0 and self._follows_from <= read.offset <= self.end

    def known(self, read: ReaderPosition) -> ReaderPosition:
        """Up to where the validity of the partition's records is known. `read`: up to where they were read."""
        return ReaderPosition(self.end, self._epoch) if self._is_valid_behind(read) else read

    def spares_reading(self, read: ReaderPosition) -> bool:
        """Whether nothing behind `read` needs to be read: it is valid, and `take` gives what of it is wanted."""
        return self._kept_from <= read.offset and self._is_valid_behind(read)

    def has(self, read: ReaderPosition) -> bool:
        """Whether `take` gives anything."""
        return bool(self._kept) and self.spares_reading(read)

    def take(self, read: ReaderPosition) -> list[Raw]:
        """The events that concern states of this context, each once, as they would be read; none while they have to be
        read. All events before `read` have been handled."""
        while self._kept and self._kept[0].offset < read.offset:
            self._kept.popleft()
        if not self.has(read):
            return []
        return [self._kept.popleft() for _ in range(min(len(self._kept), MOST_AT_ONCE))]

    def passed(self, read: ReaderPosition) -> ReaderPosition:
        """Up to where all events that concern states of this context were read or taken."""
        if not self.spares_reading(read):
            return read
        return ReaderPosition(max(read.offset, self._kept[0].offset) if self._kept else self.end, self._epoch)
