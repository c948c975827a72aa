"""A long-lived producer goes on after a failed send."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from events.language.streams import OUTPUT
from events.log.access import client_options
from events.log.producer import Producer, ToSend
from events.log.topics import LOGS, ensure_topics, stream_config
from events.process.settings import Settings
from tests import PATIENCE

FAR = 4_000_000_000_000
"""Milliseconds since 1970: the year 2096, which a broker refuses by default (InvalidTimestamp)."""


async def test_a_refused_batch_does_not_block_those_behind_it(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    topic = settings.prefix + "strict"
    try:
        await admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=1)])
        async with Producer(settings) as producer:
            first = await producer.send_all([ToSend(topic, b"1"), ToSend(topic, b"2")])
            for _ in range(2):
                with pytest.raises(KafkaError):
                    await producer.send_all([ToSend(topic, b"lost", timestamp_ms=FAR)])
            then = await producer.send_all([ToSend(topic, b"3")])
            assert [at.offset for at in [*first, *then]] == [0, 1, 2]
    finally:
        await admin.delete_topics([topic])
        await admin.close()


async def test_records_from_the_future_are_taken_by_the_platforms_own_topics(settings: Settings) -> None:
    await ensure_topics(settings)
    async with Producer(settings) as producer:
        (stored,) = await producer.send_all([ToSend(f"{settings.prefix}commands.jobs", b"{}", timestamp_ms=FAR)])
        assert stored.offset >= 0


async def test_the_days_that_output_is_kept_are_changed_by_those_who_were_told_them(settings: Settings) -> None:
    topic = settings.prefix + LOGS
    await ensure_topics(settings)
    await _until_days(settings, topic, 7)
    await ensure_topics(settings.model_copy(update={"output_days": 30}))
    await _until_days(settings, topic, 30)


def test_the_days_that_output_is_kept_are_left_alone_by_those_who_were_not(settings: Settings) -> None:
    """A command line or an agent without the setting must not shorten what the platform, or an operator, has set."""
    month, week = ({"retention.ms": str(days * 86_400_000)} for days in (30, 7))
    told = settings.model_copy(update={"output_days": 7})
    assert stream_config(OUTPUT, settings, {**month, "max.message.bytes": "1048576"}) == {
        **stream_config(OUTPUT, told, {}),
        **month,
    }
    assert stream_config(OUTPUT, settings, {})["retention.ms"] == week["retention.ms"]
    assert stream_config(OUTPUT, told, month)["retention.ms"] == week["retention.ms"]


async def _until_days(settings: Settings, topic: str, days: int) -> None:
    """The broker tells of a change a moment after it has taken it."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                (described,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
                if ("retention.ms", str(days * 86_400_000)) in [entry[:2] for entry in described.resources[0][4]]:
                    return
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
