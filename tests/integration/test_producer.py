"""A long-lived producer goes on after a failed send."""

from __future__ import annotations

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from events.log.producer import Producer, Record
from events.runtime.settings import Settings

FAR = 4_000_000_000_000
"""Milliseconds since 1970: the year 2096, which a broker refuses by default (InvalidTimestamp)."""


async def test_a_refused_batch_does_not_block_those_behind_it(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_required)
    await admin.start()
    topic = settings.prefix + "strict"
    try:
        await admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=1)])
        async with Producer(settings) as producer:
            first = await producer.send_all([Record(topic, b"1"), Record(topic, b"2")])
            for _ in range(2):
                with pytest.raises(KafkaError):
                    await producer.send_all([Record(topic, b"lost", timestamp_ms=FAR)])
            then = await producer.send_all([Record(topic, b"3")])
            assert [at.offset for at in [*first, *then]] == [0, 1, 2]
    finally:
        await admin.delete_topics([topic])
        await admin.close()


async def test_records_from_the_future_are_taken_by_the_platforms_own_topics(settings: Settings) -> None:
    from events.log.topics import ensure_topics

    await ensure_topics(settings)
    async with Producer(settings) as producer:
        (stored,) = await producer.send_all([Record(f"{settings.prefix}commands.jobs", b"{}", timestamp_ms=FAR)])
        assert stored.offset >= 0
