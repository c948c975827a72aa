"""What a run is given of what waits: records of topics, files. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from events.language.pipelines.arrivals import MAX_ARRIVED, ArrivedFiles, PartitionRange, TopicBatch
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.stages import StageSpec
from events.language.pipelines.windows import StreamState
from services.pipelines.triggers.state import Triggers


def of_topics(triggers: Triggers, spec: PipelineSpec, *, empty: bool = False) -> tuple[TopicBatch, ...]:
    """Of each topic that is watched. `empty`: nothing of it, since another run has what waits."""
    found = []
    for trigger in spec.triggers:
        topic = triggers.topics.get(trigger.name)
        if topic is None or trigger.topic is None or not topic.is_of(trigger.topic.topic, trigger.topic.connection.url):
            continue
        ranges = () if empty or topic.run else ranges_of(topic.taken, topic.ends, trigger.topic.max_records)
        found.append(TopicBatch(trigger=trigger.name, topic=topic.topic, url=topic.url, ranges=ranges))
    return tuple(found)


def of_files(triggers: Triggers, spec: PipelineSpec, *, empty: bool = False) -> tuple[ArrivedFiles, ...]:
    """Of each path that is watched; the oldest ones."""
    return tuple(
        ArrivedFiles(trigger=trigger.name, files=() if empty else tuple(files.waiting[:MAX_ARRIVED]))
        for trigger in spec.triggers
        if trigger.files is not None and (files := triggers.files.get(trigger.name)) is not None
    )


def left(triggers: Triggers, spec: StageSpec, given: Sequence[TopicBatch]) -> Iterator[StreamState]:
    """What the batch before has left of the windows of a stage. Runs with records of a topic come one after the other,
    so it is the same for all attempts."""
    for batch in given:
        topic = triggers.topics.get(batch.trigger)
        if topic is None or not batch.ranges or not topic.is_of(batch.topic, batch.url):
            continue
        for name, each in spec.inputs.items():
            known = topic.streams.get((spec.id, name))
            if (
                known is not None
                and each.source is not None
                and topic.is_of(each.source.topic, each.source.connection.url)
            ):
                yield known


def ranges_of(taken: Mapping[int, int], ends: Mapping[int, int], most: int) -> tuple[PartitionRange, ...]:
    """The records that no run was given, at most so many: what partitions have less of than their share is left to the
    others. A partition without any is not named."""
    waiting = {partition: end - taken[partition] for partition, end in ends.items() if end > taken[partition]}
    shares: dict[int, int] = {}
    left = most
    for number, (partition, count) in enumerate(sorted(waiting.items(), key=lambda each: (each[1], each[0]))):
        # rounded up, so that there is something as long as there is room
        shares[partition] = min(count, left, -(-left // (len(waiting) - number)))
        left -= shares[partition]
    return tuple(
        PartitionRange(partition=partition, start=taken[partition], end=taken[partition] + share)
        for partition, share in sorted(shares.items())
        if share
    )
