"""Encodes decided events as the records of one partition: envelope, epoch, cause, hash chain. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import NamedTuple, TypeAlias

from events.language.base import Event
from events.log import batch, chain
from events.log.envelope import Meta, Position
from events.log.records import read
from events.log.wire import CAUSE, CONTENT_TYPE, EPOCH, HASH, SPEC_VERSION, Raw, encode_time, value_of

Header = tuple[str, str | bytes]
"""Name and content: a text is encoded with the record."""

_RECORD_OVERHEAD = 32
"""Bytes of a record on the wire before its tail, rounded up."""

_HASH_HEADER = batch.last_header(HASH, 2 * len(chain.GENESIS))


_new = tuple.__new__  # a named tuple in a third of the time that a call of its class takes


class Encoded(NamedTuple):
    """A record to append."""

    tail: bytes
    """The bytes of the record in a batch, without those that depend on its place there: see `events.log.batch`."""
    timestamp: int
    """Milliseconds since 1970."""
    size: int
    """Bytes on the wire, rounded up."""

    @classmethod
    def of(cls, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]], timestamp: int) -> Encoded:
        """A record with exactly these headers: a marker, which has no hash."""
        *first, (name, text) = headers
        _, tail = batch.encode(b"", key, value, first)
        tail += batch.last_header(name, len(text)) + text
        return cls(tail, timestamp, len(tail) + _RECORD_OVERHEAD)

    def at(self, topic: str, partition: int, offset: int) -> Raw:
        """The record as a reader will read it from that place."""
        section = batch.section([self.tail], [0])
        return read(Raw, section, 1, topic, partition, offset, self.timestamp, 0)[0]  # type: ignore[no-any-return]


@dataclass(slots=True)
class Unit:
    """All records that one input (or one `wake` or `after_batch`) leads to: appended in one batch, all or none."""

    records: list[Encoded]
    size: int
    """Bytes on the wire, rounded up."""
    command: str = ""
    """Key of the command that it answers (`command_key`); empty if it answers none."""
    name: str = ""
    """The type of the input, for example ``SubmitJob``: the name of the trace span."""
    traceparent: str = ""
    concerns: Sequence[int] = ()
    """Indices of the records that concern states of the writer's own context."""


class TooLarge(ValueError):
    """The events of one input do not fit into one atomic append: the decider must split them."""


@dataclass(slots=True)
class Forward:
    """A command that belongs to another partition."""

    raw: Raw
    key: str
    partition: int


@dataclass(slots=True)
class DeadLetter:
    """Input that is no command of this context, with the reason for people, and its refusal if it can be answered."""

    raw: Raw
    reason: str
    unit: Unit | None


class Origin(NamedTuple):
    """The cause of events: the parts of the envelope that they inherit."""

    id: str
    correlation: str
    actor: str
    project: str
    traceparent: str
    cause: str = ""
    """``<position>|<mark>``: see `events.log.wire`; empty for `wake` and `after_batch`."""
    name: str = ""
    stem: str = ""
    """The prefix of the events' ids; empty for `id`."""
    origin: str = ""
    """The aggregate that ordered it; see `Meta.origin`."""


Placed: TypeAlias = tuple[Event, str, str, str, str, str, str, str]
"""A decided event, and the key, subject, project, actor, correlation, traceparent and origin of its record. (A named
tuple takes four times as long to make, and one is made for every event.)"""


def origin_of(position: Position, meta: Meta, mark: str, stem: str = "") -> Origin:
    """The `Origin` of the events that a message leads to. `stem`: see `Origin`."""
    id, type, _, _, project, actor, _, correlation, _, traceparent, origin = meta
    name = type[type.rfind(".") + 1 :]
    return _new(Origin, (id, correlation or id, actor, project, traceparent, f"{position}|{mark}", name, stem, origin))


@cache
def _type_header(kind: type[Event]) -> Header:
    return "ce_type", kind.type_name()


class Encoder:
    """Encodes the records of one partition, each chained to the one before."""

    __slots__ = ("_epoch", "_moment", "_source", "_time", "_timestamp", "digest")

    def __init__(self, context: str) -> None:
        self.digest = chain.GENESIS
        """The head of the hash chain."""
        self._source: Header = ("ce_source", f"forgelog/{context}")
        self._epoch: Header = (EPOCH, "-1")
        self._moment: datetime | None = None
        self._time: Header = ("ce_time", "")
        self._timestamp = 0

    def begin(self, epoch: int) -> None:
        """Start an epoch: later records carry it."""
        self._epoch = (EPOCH, str(epoch))

    def records(self, placed: Sequence[Placed], origin: Origin, now: datetime) -> list[Encoded]:
        """The records of the events that `origin` leads to."""
        if now is not self._moment:
            self._moment = now
            self._time = ("ce_time", encode_time(now))
            self._timestamp = int(now.timestamp() * 1000)
        id, cause, count = origin.id, origin.cause, len(placed)
        shared: list[Header] = [
            SPEC_VERSION,
            CONTENT_TYPE,
            self._source,
            self._time,
            self._epoch,
        ]
        if cause:
            shared.append(("ce_causationid", id))
        stem = origin.stem or id
        of_command = cause.startswith("commands.")
        timestamp, digest = self._timestamp, self.digest
        made: list[Encoded] = []
        for index, (event, key, subject, project, actor, correlation, traceparent, asker) in enumerate(placed):
            headers = [
                *shared,
                ("ce_actor", actor),
                ("ce_id", f"{stem}.{index}"),
                _type_header(type(event)),
                ("ce_subject", subject),
                ("ce_project", project),
            ]
            if correlation:
                headers.append(("ce_correlationid", correlation))
            if cause:
                asked = f":{origin.project}" if of_command and project != origin.project else ""
                headers.append((CAUSE, f"{cause}{asked}|{index}/{count}"))
            if traceparent:
                headers.append(("traceparent", traceparent))
            if asker:
                headers.append(("ce_origin", asker))
            hashed, tail = batch.encode(digest, key.encode(), value_of(event), headers)
            digest = chain.digest_of(hashed)
            tail += _HASH_HEADER + digest.hex().encode()
            made.append(_new(Encoded, (tail, timestamp, len(tail) + _RECORD_OVERHEAD)))
        self.digest = digest
        return made
