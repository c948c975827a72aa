"""Records that an operator decided to pass over: the topic ``repairs``, as every reader of events knows it. No I/O.

A record that can't be read, or does not fold, stops its reader. The operator's decision to go on without it is an event
(`RecordSkipped`) in a topic of its own, since the partition it is about may have no writer. Every reader knows all
repairs before it reads, and follows them (`events.log.tail`). To all, a skipped record is void, as one of an old epoch
is. The record stays in the log, and the audit goes on telling of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from blake3 import blake3

from events.language.common import RecordRetried, RecordSkipped
from events.log.envelope import Position
from events.log.wire import Damage, Raw, Undecodable

log = logging.getLogger("forgelog.reading")


class Repair(NamedTuple):
    """A decision to pass over records, or to try again where readers stand."""

    number: int
    """Its offset among the repairs."""
    place: tuple[str, int]
    """Topic and partition of the records."""
    first: int
    last: int
    digest: str
    record_type: str
    reason: str
    actor: str
    time: datetime
    skips: bool = True
    """False: nothing is passed over; who stands there tries again."""

    @property
    def position(self) -> Position:
        """Of the first record."""
        return Position(*self.place, self.first)


class Repairs:
    """All repairs up to `until`."""

    def __init__(self) -> None:
        self.until = 0
        """The next offset to read of the topic."""
        self._all: list[Repair] = []
        self._places: dict[tuple[str, int], list[Repair]] = {}

    def add(self, raws: Iterable[Raw]) -> list[Repair]:
        """Take records of the topic in, in order; the repairs that are new. What is none is reported and left out."""
        new = []
        for raw in raws:
            if raw.offset < self.until:
                continue
            self.until = raw.last + 1
            try:
                new.append(_repair(raw))
            except (Undecodable, ValueError) as error:
                log.error("%s is no repair, and changes nothing: %s", raw.position, error)
        for repair in new:
            self._all.append(repair)
            if repair.skips:
                self._places.setdefault(repair.place, []).append(repair)
        return new

    def forget(self) -> None:
        """The topic is another one: it is read from its beginning."""
        self.until = 0
        self._all.clear()
        self._places.clear()

    def concern(self, topic: str, partition: int) -> bool:
        """Whether anything is passed over in a place."""
        return (topic, partition) in self._places

    def pass_over(self, raw: Raw) -> bool:
        """Whether this record is passed over: it is at the place, and is what the operator saw there (the topic may
        have been made anew since)."""
        return any(
            repair.first <= raw.offset <= repair.last and repair.digest == digest_of(raw)
            for repair in self._places.get((raw.topic, raw.partition), ())
        )

    def cover(self, raw: Raw) -> bool:
        """Whether there is a decision about the record's offset, whatever lies there now."""
        repairs = self._places.get((raw.topic, raw.partition), ())
        return any(repair.first <= raw.offset <= repair.last for repair in repairs)

    def since(self, number: int) -> list[Repair]:
        """Those from a number on."""
        return [repair for repair in self._all if repair.number >= number]

    def __iter__(self) -> Iterator[Repair]:
        return iter(self._all)


def digest_of(raw: Raw) -> str:
    """BLAKE3 of a record's key, value and headers, or of a batch that can't be read; hex."""
    if isinstance(raw, Damage):
        return blake3(raw.value or b"").hexdigest()
    whole = blake3()
    for part in (raw.key or b"", raw.value or b"", *(part for header in raw.headers for part in header)):
        content = part.encode() if isinstance(part, str) else part or b""
        whole.update(len(content).to_bytes(8, "big") + content)
    return whole.hexdigest()


def _repair(raw: Raw) -> Repair:
    recorded = raw.decode()
    event = recorded.data
    if not isinstance(event, RecordSkipped | RecordRetried):
        raise ValueError(f"it is {recorded.meta.type}")
    topic, partition, offset = Position.parse(event.position)
    actor, time = recorded.meta.actor, recorded.meta.time
    if isinstance(event, RecordRetried):
        return Repair(raw.offset, (topic, partition), offset, offset, "", "", event.reason, actor, time, skips=False)
    last = max(offset, event.last_offset)
    return Repair(
        raw.offset, (topic, partition), offset, last, event.digest, event.record_type, event.reason, actor, time
    )
