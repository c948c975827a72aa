"""An exact model of what the log needs of Kafka: one partition, idempotent producer sessions, and a network between.

A batch lands whole or not at all, and once, from any sender and with any repeats; what is on its way may be late, lost,
or overtaken; that it has landed may never be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from events.log import topics
from events.log.positions import EpochRule
from events.log.wire import Raw

EVENTS = topics.events("jobs")


@dataclass(eq=False)
class Batch:
    """Records that were sent together. `sequence`: its number in its producer's session."""

    session: int
    sequence: int
    records: Sequence[Any]
    units: Sequence[Any] = ()


class Log:
    """A Kafka partition: an append-only list."""

    def __init__(self) -> None:
        self.records: list[Raw] = []
        self._landed: dict[tuple[int, int], int] = {}
        self._next: dict[int, int] = {}

    def append(self, records: Sequence[Any]) -> int:
        """The offset of the first."""
        base = len(self.records)
        for record in records:
            self.records.append(record.at(EVENTS, 0, len(self.records)))
        return base

    def arrived(self, batch: Batch) -> int | None:
        """What the broker answers: the batch's offset (a repeat's: the first time's), or None when one before it in its
        session is missing (OutOfOrderSequenceNumber)."""
        name = batch.session, batch.sequence
        if name not in self._landed:
            if batch.sequence != self._next.get(batch.session, 0):
                return None
            self._next[batch.session] = batch.sequence + 1
            self._landed[name] = self.append(batch.records)
        return self._landed[name]

    def valid(self, start: int = 0, epoch: int = -1) -> list[Raw]:
        """What a reader sees that starts there."""
        rule = EpochRule(epoch, start)
        return [record for record in self.records[start:] if rule.admits(record)]


@dataclass
class Network:
    """What is on its way: copies of batches to the broker, and answers from it."""

    log: Log
    copies: list[Batch] = field(default_factory=list)
    answers: list[tuple[Batch, int]] = field(default_factory=list)

    def send(self, batch: Batch) -> None:
        self.copies.append(batch)

    def deliver(self, number: int, *, told: bool) -> None:
        """Any copy arrives; its answer is lost unless `told`. A refusal is as good as none: the sender gives up."""
        batch = self.copies.pop(number)
        base = self.log.arrived(batch)
        if base is not None and told:
            self.answers.append((batch, base))
