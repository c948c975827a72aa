"""The log's part of `forgelog repair`: shows a record that stops its readers, and records the decision to skip it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import TopicPartition

from events.language.common import LogEvent, RecordRetried, RecordSkipped
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.envelope import Meta, Position
from events.log.ids import new_command_id
from events.log.producer import Producer, ToSend
from events.log.repairs import Repair, digest_of
from events.log.tail import read_repairs
from events.log.topics import CONTEXTS, REPAIRS, STREAMS, commands, ensure_topics, events
from events.log.wire import Damage, Raw, Undecodable, headers_of, value_of
from events.process.settings import Settings

READ_SECONDS = 15.0
"""Longest wait for the record, in seconds."""


class NoSuchRecord(LookupError):
    """There is no record at the position that can be skipped; the text says why."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A record of the log, or a batch that can't be read."""

    position: Position
    last: int
    """The last offset of the batch; for a record, its own offset."""
    type: str
    id: str
    digest: str
    damage: str
    """What is wrong with the batch; empty if the record can be read."""
    value: bytes


async def look_at(settings: Settings, position: Position) -> Suspect:
    """The record at a position. Raises NoSuchRecord."""
    counts = await ensure_topics(settings)
    readable = [topic for context in CONTEXTS for topic in (events(context), commands(context))]
    readable += [stream.name for stream in STREAMS]
    if position.topic not in readable:
        known = ", ".join(readable)
        raise NoSuchRecord(f"{position} is no place of an event, a command or a stream; its topic is one of {known}")
    if not 0 <= position.partition < counts[position.topic]:
        raise NoSuchRecord(f"{position.topic} has partitions 0 to {counts[position.topic] - 1}")
    place = TopicPartition(settings.prefix + position.topic, position.partition)
    gone = ""
    if position.topic in {stream.name for stream in STREAMS if stream.days}:
        gone = (
            f". Its topic keeps records for a while only: if it was there, `forgelog repair {position} --retry` goes on"
        )
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        end = (await consumer.end_offsets([place]))[place]
        if position.offset == end:
            raise NoSuchRecord(
                f"nothing lies at {position} yet: {position.topic}/{position.partition} ends there. Where a place "
                f"stands there, no record is to blame: mend the cause, then `forgelog repair {position} --retry`"
            )
        if not 0 <= position.offset < end:
            raise NoSuchRecord(f"nothing lies at {position}; {position.topic}/{position.partition} ends at {end}")
        consumer.assign([place])
        consumer.seek(place, position.offset)
        async with asyncio.timeout(READ_SECONDS):
            while not (raws := (await consumer.getmany(timeout_ms=1000, max_records=1)).get(place)):
                if await consumer.position(place) > position.offset:
                    raise NoSuchRecord(f"no record lies at {position}; what Kafka keeps there is its own{gone}")
    raw: Raw = raws[0]
    if raw.offset != position.offset:
        raise NoSuchRecord(f"no record lies at {position}; the next one is at offset {raw.offset}{gone}")
    return _suspect(raw)


def _suspect(raw: Raw) -> Suspect:
    names = []
    for header in ("ce_type", "ce_id"):
        try:
            names.append(raw.text(header)[:200])
        except Undecodable:
            names.append("")
    damage = raw.wrong if isinstance(raw, Damage) else ""
    return Suspect(raw.position, raw.last, names[0], names[1], digest_of(raw), damage, raw.value or b"")


async def skip(settings: Settings, suspect: Suspect, reason: str, actor: str) -> Repair:
    """Record the decision that every reader skips it. Returns the earlier repair if that was decided before."""
    for known in await read_repairs(settings):
        same = known.position == suspect.position and known.digest == suspect.digest
        if same and known.last >= suspect.last and known.skips:
            return known
    event = RecordSkipped(
        subject_id=str(suspect.position),
        position=str(suspect.position),
        last_offset=suspect.last,
        digest=suspect.digest,
        record_type=suspect.type,
        reason=reason,
    )
    number, now = await _record(settings, event, actor)
    place = (suspect.position.topic, suspect.position.partition)
    first, last = suspect.position.offset, suspect.last
    return Repair(number, place, first, last, suspect.digest, suspect.type, reason, actor, now)


async def retry(settings: Settings, position: Position, reason: str, actor: str) -> Repair:
    """Record the decision that the places stopped at a position try again."""
    event = RecordRetried(subject_id=str(position), position=str(position), reason=reason)
    number, now = await _record(settings, event, actor)
    place, at = (position.topic, position.partition), position.offset
    return Repair(number, place, at, at, "", "", reason, actor, now, skips=False)


async def _record(settings: Settings, event: LogEvent, actor: str) -> tuple[int, datetime]:
    """Append to the topic of repairs. Returns the offset and the time."""
    now = datetime.now(UTC)
    meta = Meta(new_command_id(), event.type_name(), event.subject_id, now, "", actor, "forgelog/repair")
    async with Producer(settings) as producer:
        record = ToSend(settings.prefix + REPAIRS, value_of(event), partition=0, headers=headers_of(meta))
        (stored,) = await producer.send_all([record])
    return stored.offset, now
