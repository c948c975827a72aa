"""Records that an operator decided to skip: the topic ``repairs``, as every reader of events sees it. No I/O.

A record that can't be read, or does not fold, stops its reader. The operator's decision to go on without it is an event
(`RecordSkipped`) in a separate topic, since the partition of the record may have no writer. Every reader knows all
repairs before it reads, and follows new ones (`events.log.tail`). A skipped record is void for every reader, as a
record of an old epoch is. It stays in the log, and the audit still reports it.
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
    """A decision to skip records, or to let stopped readers try again."""

    number: int
    """Its offset in the topic of repairs."""
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
    """False: nothing is skipped; readers that are stopped there try again."""

    @property
    def position(self) -> Position:
        """The position of the first record."""
        return Position(*self.place, self.first)


class Repairs:
    """All repairs up to `until`."""

    def __init__(self) -> None:
        self.until = 0
        """The next offset to read in the topic."""
        self._all: list[Repair] = []
        self._places: dict[tuple[str, int], list[Repair]] = {}

    def add(self, raws: Iterable[Raw]) -> list[Repair]:
        """Take records of the topic, in order. Returns the new repairs. Logs and leaves out other records."""
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
        """Drop all repairs: the topic was replaced and is read from its beginning."""
        self.until = 0
        self._all.clear()
        self._places.clear()

    def concern(self, topic: str, partition: int) -> bool:
        """Whether any record of a place is skipped."""
        return (topic, partition) in self._places

    def pass_over(self, raw: Raw) -> bool:
        """Whether to skip this record: it is at the position of a repair, and is the record that the operator saw. (The
        topic may have been replaced since.)"""
        return any(
            repair.first <= raw.offset <= repair.last and repair.digest == digest_of(raw)
            for repair in self._places.get((raw.topic, raw.partition), ())
        )

    def cover(self, raw: Raw) -> bool:
        """Whether a repair covers the record's offset, even if another record was there then."""
        repairs = self._places.get((raw.topic, raw.partition), ())
        return any(repair.first <= raw.offset <= repair.last for repair in repairs)

    def since(self, number: int) -> list[Repair]:
        """The repairs from a number on."""
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
