"""Taking over event partitions: fence with a marker, fold the history up to it (DESIGN section 4, rules 2 and 4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition

from events.language.common import PLATFORM_ACTOR, WriterStarted
from events.log import topics
from events.log.connect import start
from events.log.envelope import Meta
from events.log.ids import new_command_id
from events.log.tail import EpochRule, new_consumer
from events.log.wire import Raw, Undecodable, headers_of, value_of
from events.runtime import faults
from events.runtime.decider import Decider
from events.runtime.partition import Partition
from events.runtime.settings import Settings
from events.runtime.snapshots import Snapshots

S = TypeVar("S")

log = logging.getLogger("forgelog.writer")


async def take_over(
    decider: Decider[S],
    numbers: Sequence[int],
    count: int,
    settings: Settings,
    producer: AIOKafkaProducer,
    snapshots: Snapshots | None,
    now: datetime,
) -> dict[int, Partition[S] | str]:
    """The folded partitions; in place of one that can't be folded, the reason for people.

    `now`: the writer's clock. From the marker's offset on, whatever an earlier writer still appends is void.
    """
    epochs = await asyncio.gather(*(_fence(decider.context, number, settings, producer, now) for number in numbers))
    faults.point(faults.AFTER_MARKER)
    partitions: dict[int, Partition[S]] = {}
    for number in numbers:
        partition = await snapshots.load(decider, number, count) if snapshots is not None else None
        partition = partition or Partition(decider, number, count)
        partitions[number] = partition
    outcome: dict[int, Partition[S] | str] = dict(partitions)
    problems = await _fold(partitions, dict(zip(numbers, epochs, strict=True)), decider.context, settings)
    for number, epoch in zip(numbers, epochs, strict=True):
        partitions[number].epoch = epoch
    outcome.update(problems)
    return outcome


async def _fence(context: str, number: int, settings: Settings, producer: AIOKafkaProducer, now: datetime) -> int:
    """Append a `WriterStarted` marker; its offset is the new epoch."""
    name = settings.instance or context
    marker = WriterStarted(subject_id=f"{context}/{number}", writer=name)
    meta = Meta(
        id=new_command_id(),
        type=WriterStarted.type_name(),
        source=f"forgelog/{context}",
        subject=marker.subject_id,
        time=now,
        project="",
        actor=PLATFORM_ACTOR,
    )
    stored = await producer.send_and_wait(
        settings.prefix + topics.events(context),
        value=value_of(marker),
        key=marker.subject_id.encode(),
        partition=number,
        headers=headers_of(meta),
        timestamp_ms=int(now.timestamp() * 1000),
    )
    return int(stored.offset)


async def _fold(
    partitions: dict[int, Partition[S]], epochs: dict[int, int], context: str, settings: Settings
) -> dict[int, str]:
    """Fold each partition's valid records up to and including its marker; the reasons of those that can't be."""
    topic = settings.prefix + topics.events(context)
    problems: dict[int, str] = {}
    open_ = {number for number, partition in partitions.items() if partition.next_offset <= epochs[number]}
    rules = {number: EpochRule(partition.epoch) for number, partition in partitions.items()}
    consumer = new_consumer(settings)
    await start(consumer)
    try:
        consumer.assign([TopicPartition(topic, number) for number in open_])
        for number in open_:
            consumer.seek(TopicPartition(topic, number), partitions[number].next_offset)
        while open_:
            fetched = await consumer.getmany(timeout_ms=1000)
            for place, records in fetched.items():
                number = place.partition
                if number not in open_:
                    continue
                partition, rule, marker = partitions[number], rules[number], epochs[number]
                try:
                    for index, record in enumerate(records):
                        if record.offset > marker:
                            break
                        raw = Raw.of(record, settings.prefix)
                        if rule.admits(raw):
                            partition.fold(raw)
                        if index % 500 == 499:
                            await asyncio.sleep(0)
                except Undecodable as error:
                    problems[number] = str(error)
                    open_.discard(number)
                    consumer.pause(place)
                    continue
                if records[-1].offset >= marker:
                    partition.next_offset = marker + 1
                    open_.discard(number)
                    consumer.pause(place)
    finally:
        await consumer.stop()
    return problems
