"""Decided events as units: every event with its key, its subject and its trace, encoded and chained. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

from events.language.base import Event
from events.language.common import LogEvent
from events.log import topics
from events.writer.encoding import Encoded, Encoder, Origin, TooLarge

_TRACES = 20_000
"""Subjects whose traces are remembered."""

Placed = tuple[Event, str, str]
"""An event, its key and its subject."""


class Units:
    """Encodes the units of one partition, one after the other."""

    __slots__ = ("_context", "_number", "_serial", "_traces", "encoder", "epoch")

    def __init__(self, context: str, number: int) -> None:
        self.epoch = -1
        """Offset of this writer's marker; -1 before there is one."""
        self._context = context
        self._number = number
        self.encoder = Encoder(context)
        self._serial = 0
        self._traces: OrderedDict[str, tuple[str, str]] = OrderedDict()
        """Subject → correlation and traceparent of the last input that led to an event of it."""

    def begin(self, epoch: int) -> None:
        """From now on, records are this epoch's."""
        self.epoch = epoch
        self.encoder.begin(epoch)

    def own_id(self) -> str:
        """The id of what the writer does by itself next; unique."""
        return f"{self._context}-{self._number}-{self.epoch}-{self._serial}"

    def encode(
        self, decided: Sequence[Event], origin: Origin, now: datetime
    ) -> tuple[list[Encoded], int, list[Placed]]:
        """The records of events that descend from `origin`, their bytes, and the events with their places.

        Raises TooLarge if they do not fit into one batch.
        """
        self._serial += 1
        placed: list[Placed] = []
        traces: list[tuple[str, str]] = []
        for event in decided:
            subject = event.subject()
            placed.append((event, subject if isinstance(event, LogEvent) else event.key(), subject))
            if origin.correlation:
                traces.append((origin.correlation, origin.traceparent))
                self._trace(subject, origin.correlation, origin.traceparent)
            else:
                traces.append(self._traces.get(subject, ("", "")))
        records = self.encoder.records(placed, origin, now, traces)
        size = sum(record.size for record in records)
        if size > topics.MAX_BATCH_BYTES:
            raise TooLarge(f"{size} bytes of events follow from one input; at most {topics.MAX_BATCH_BYTES} may")
        return records, size, placed

    def _trace(self, subject: str, correlation: str, traceparent: str) -> None:
        self._traces[subject] = (correlation, traceparent)
        if len(self._traces) > _TRACES:
            self._traces.popitem(last=False)
