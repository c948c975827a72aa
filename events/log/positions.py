"""Reader positions in event topics, and the epoch rule, which decides which records are valid.

The epoch rule: the offset of a `WriterStarted` marker is its epoch; behind a marker, records of an older epoch are
void. A reader that keeps the offset of the newest marker beside its position can start anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from events.log.topics import context_of
from events.log.wire import EPOCH, MARKER, Raw

Place = tuple[str, int]
"""A context and a partition of its event topic."""


class ReaderPosition(NamedTuple):
    """A reader's position in a partition: the next offset to read, and the newest marker before it."""

    offset: int = 0
    epoch: int = -1

    @classmethod
    def behind(cls, record: Raw) -> ReaderPosition:
        """The position behind a valid record."""
        return cls(record.last + 1, record.offset if record.is_marker else record.epoch)


def place_of(record: Raw) -> Place:
    """The place of an event's record."""
    return context_of(record.topic), record.partition


class EpochRule:
    """The epoch rule for one partition: tells valid records from void ones. Pure; fed in log order."""

    __slots__ = ("_begun", "epoch")

    def __init__(self, epoch: int = -1, begun: int | None = None) -> None:
        """`begun`: the offset from which on the reader sees every marker; None if unknown."""
        self.epoch = epoch
        self._begun = begun

    def admits(self, record: Raw) -> bool:
        """Whether the record is valid. A valid marker begins its epoch."""
        if record.has("ce_type", MARKER):
            self.epoch = record.offset
            return True
        try:
            epoch: int = record.number(EPOCH)
        except ValueError:
            return False  # no writer wrote it: an epoch is a number
        if epoch > self.epoch:
            if epoch >= (record.offset if self._begun is None else self._begun):
                return False  # forged: a writer's marker comes before its records, and this reader would have seen it
            self.epoch = epoch  # there was a marker at that offset, before this reader's start
        return epoch == self.epoch

    def missed(self, last: int) -> None:
        """Note that the reader skipped records up to this offset; one of them may have been a marker."""
        if self._begun is not None:
            self._begun = max(self._begun, last + 1)
