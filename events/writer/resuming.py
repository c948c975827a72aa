"""Going on where an input ends before the point that its partition has handled it up to.

The topic of the input was lost or cut (a restored broker, a deleted topic) while the partition's own history was not.
What is recorded there from now on has offsets that were handled before, by the count: without a new point of resume all
of it would be passed over in silence. The new one is behind what was recorded before the partition's last event: of a
topic that was cut that is its end, of one that was made anew its beginning.
"""

from __future__ import annotations

from aiokafka import TopicPartition

from events.log.fetching import Consumer
from events.log.positions import ReaderPosition
from events.writer.partition import Partition


async def mend(partition: Partition, consumer: Consumer, prefix: str) -> list[str]:
    """Give inputs that were lost a new point of resume; says which and where, for people. Raises `KafkaError`."""
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
