"""Where readers stand in a topic of events, and which records are valid there.

The epoch rule: a `WriterStarted` marker's own offset is its epoch; behind a marker, records of an older epoch are void.
A reader that keeps the newest marker's offset beside its position can start anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from events.log.topics import context_of
from events.log.wire import EPOCH, MARKER, Raw

Place = tuple[str, int]
"""A context and a partition of its event topic."""


class ReaderPosition(NamedTuple):
    """Where a reader stands in a partition: the next offset to read, and the newest marker before it."""

    offset: int = 0
    epoch: int = -1

    @classmethod
    def behind(cls, record: Raw) -> ReaderPosition:
        """Where a reader stands that has read a valid record."""
        return cls(record.last + 1, record.offset if record.is_marker else record.epoch)


def place_of(record: Raw) -> Place:
    """The place of an event's record."""
    return context_of(record.topic), record.partition


class EpochRule:
    """The epoch rule for one partition: tells valid records from void ones. Pure; fed in log order."""

    __slots__ = ("_begun", "epoch")

    def __init__(self, epoch: int = -1, begun: int | None = None) -> None:
        """`begun`: the offset from which on the reader sees every marker; None where it is not known."""
        self.epoch = epoch
        self._begun = begun

    def admits(self, record: Raw) -> bool:
        """Whether the record is valid; moves on to its epoch if it is a marker."""
        if record.has("ce_type", MARKER):
            self.epoch = record.offset
            return True
        try:
            epoch: int = record.number(EPOCH)
        except ValueError:
            return False  # a writer's epoch is a number
        if epoch > self.epoch:
            if epoch >= (record.offset if self._begun is None else self._begun):
                return False  # no writer's of this log: its marker stands before what it appends, and was not seen
            self.epoch = epoch  # proves a marker at that offset, which this reader started behind
        return epoch == self.epoch

    def missed(self, last: int) -> None:
        """What stands there, up to this offset, was passed over: it may have been a marker."""
        if self._begun is not None:
            self._begun = max(self._begun, last + 1)
