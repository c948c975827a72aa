"""Reads topics from given offsets to their current end. Includes void records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from aiokafka import TopicPartition

from events.log.fetching import Consumer
from events.log.wire import Damage, Raw

READ_SECONDS = 5.0
"""Longest wait, in seconds, for a single record that must be there."""


async def records_at(consumer: Consumer, wanted: Mapping[TopicPartition, int]) -> dict[TopicPartition, Raw]:
    """The records at these offsets, without damaged and removed ones.

    The consumer must be connected; it is assigned these partitions. Kafka's errors are raised (`KafkaError`).
    """
    found: dict[TopicPartition, Raw] = {}
    if not wanted:
        return found
    consumer.assign(list(wanted))
    for place, offset in wanted.items():
        consumer.seek(place, offset)
    for place, offset in wanted.items():
        fetched = await consumer.getmany(place, timeout_ms=int(READ_SECONDS * 1000), max_records=1)
        for raw in fetched.get(place, ()):
            if raw.offset == offset and not isinstance(raw, Damage):
                found[place] = raw
    return found


async def read_to_end(
    consumer: Consumer, starts: Mapping[TopicPartition, int]
) -> AsyncIterator[tuple[TopicPartition, list[Raw]]]:
    """Each partition's records from its start (an offset) to its end at the time of the call, in order, in batches.

    The consumer (of `events.log.consumers.new_consumer`) must be connected; it is assigned these partitions. Kafka's
    errors are raised (`KafkaError`).
    """
    consumer.assign(list(starts))
    ends = await consumer.end_offsets(list(starts))
    for place, offset in starts.items():
        consumer.seek(place, offset)
    open_ = {place for place, offset in starts.items() if offset < ends[place]}
    while open_:
        for place, records in (await consumer.getmany(*open_, timeout_ms=1000)).items():
            kept = [record for record in records if record.offset < ends[place]]
            if kept:
                yield place, kept
        # By the position, not by the last record: the log may end in a transaction's marker, which is no record.
        for place in list(open_):
            if await consumer.position(place) >= ends[place]:
                open_.discard(place)
