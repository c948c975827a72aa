"""The envelope of a command or an event: CloudEvents 1.0 attributes, and the record's position in the log.

Values only; `events.log.wire` encodes them to Kafka headers. They are named tuples since one is made for every record:
a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from events.language.base import Message
from events.language.common import shown


class Position(NamedTuple):
    """A record's place: topic, partition, offset. Printed and parsed as ``events.jobs/3@1042``."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that `text` names. Raises ValueError when it is malformed."""
        try:
            place, offset = text.rsplit("@", 1)
            topic, partition = place.rsplit("/", 1)
            if not 0 <= int(partition) < 1 << 31 or not 0 <= int(offset) < 1 << 63:
                raise ValueError("out of range")
            return cls(topic, int(partition), int(offset))
        except ValueError:
            raise ValueError(f"{shown(text)} is not a position; write topic/partition@offset") from None


class Meta(NamedTuple):
    """CloudEvents attributes of one message."""

    id: str
    """ce_id: the idempotency key of a command; unique per event."""
    type: str
    subject: str
    """ce_subject: the aggregate."""
    time: datetime
    """ce_time, UTC. Never goes backwards within an event partition."""
    project: str
    actor: str
    source: str = "forgelog"
    correlation: str = ""
    """ce_correlationid: the id of the command that began the whole flow."""
    causation: str = ""
    """ce_causationid: the id of the message that led to this one directly."""
    traceparent: str = ""
    """W3C Trace Context."""
    origin: str = ""
    """ce_origin, as ``context/kind/id``: the aggregate that ordered this command, or the aggregate that this event is
    about. Empty if a person or an agent asked for it. See `events.writer.dispatch`."""


class Recorded(NamedTuple):
    """A message as read from the log."""

    data: Message
    meta: Meta
    key: str
    position: Position
    epoch: int = -1
    """The writer's epoch: offset of its `WriterStarted` marker. -1 for commands, which have none."""
    cause: str = ""
    """``topic/partition@offset`` of the input that led to this event; empty for `wake` and `after_batch`."""
