"""Gives a partition a new resume position in an input that ends before the old one.

The input's topic was lost or cut (a restored broker, a deleted topic), but the partition's own history was not. New
records there get offsets that count as handled: with the old resume position they would be skipped without a notice.
The new position is behind all records that are older than the partition's last event: the end of a topic that was cut,
the beginning of a topic that was created anew.
"""

from __future__ import annotations

from aiokafka import TopicPartition

from events.log.fetching import Consumer
from events.log.positions import ReaderPosition
from events.writer.partition import Partition


async def mend(partition: Partition, consumer: Consumer, prefix: str) -> list[str]:
    """Give lost inputs a new resume position. Returns a notice for people for each. Raises `KafkaError`."""
    reached = {
        place: max(
            partition.inputs.get(place, ReaderPosition()).offset, partition.observed.get(place, ReaderPosition()).offset
        )
        for place in {**partition.inputs, **partition.observed}
    }
    named = {TopicPartition(prefix + topic, number): (topic, number) for topic, number in reached}
    ends = await consumer.end_offsets(list(named)) if named else {}
    notes: list[str] = []
    for at, place in named.items():
        end = ends[at]
        if reached[place] <= end:
            continue
        resume = end
        if partition.last_time is not None:
            found = (await consumer.offsets_for_times({at: int(partition.last_time.timestamp() * 1000)}))[at]
            resume = end if found is None else found.offset
        for known in (partition.inputs, partition.observed):
            if place in known:
                known[place] = ReaderPosition(resume)
        notes.append(
            f"{place[0]}/{place[1]} was lost or cut: it ends at {end}, and was handled up to {reached[place]} "
            f"before. Going on at {resume}; what was lost there and not handled will not be."
        )
    return notes
