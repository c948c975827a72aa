"""Records that no good producer sends: a writer answers what can be answered, puts the rest aside, and goes on."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from events.language.common import MAX_COMMAND_BYTES, CommandRejected
from events.log import topics
from events.log.access import client_options
from events.log.connect import connected
from events.log.consumers import new_consumer
from events.log.deadletters import EXCERPT_BYTES, list_dead_letters
from events.log.envelope import Position
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.log.reading import read_to_end
from events.process.settings import Settings
from events.writer.writer import Writer
from tests import PATIENCE
from tests.chaos.poison import poisons
from tests.integration.test_runtime import history, running, submit
from tests.unit.writer.sample import SampleDecider


@pytest.fixture
async def prepared(settings: Settings) -> Settings:
    await topics.ensure_topics(settings)
    return settings


async def test_poison_is_answered_or_put_aside_and_nothing_stops(prepared: Settings) -> None:
    topic = prepared.prefix + topics.commands("jobs")
    wanted = {}
    producers = {
        packed: AIOKafkaProducer(**client_options(prepared), max_request_size=8 << 20, compression_type=packed)
        for packed in (None, "gzip", "zstd")
    }
    async with (
        AsyncExitStack() as connections,
        running(Writer(SampleDecider(), prepared).run()),
        Outcomes(prepared) as outcomes,
        Publisher(prepared) as publisher,
    ):
        for producer in producers.values():
            await connections.enter_async_context(connected(producer))
        for poison in poisons("jobs", lambda: uuid.uuid4().hex):
            stored = await producers[poison.packed].send_and_wait(
                topic, poison.value, key=b"k", headers=poison.headers, timestamp_ms=poison.timestamp_ms
            )
            wanted[str(Position("commands.jobs", stored.partition, stored.offset))] = poison
        # every partition goes on
        good = [outcomes.expect(f"good-{n}") for n in range(16)]
        for n in range(16):
            await publisher.publish(submit("good", f"good-{n}"), id=f"good-{n}")
        await asyncio.wait_for(asyncio.gather(*good), 20)
    letters = {letter.origin: letter for letter in await list_dead_letters(prepared, "jobs")}
    rejected = {e.data.command_id for e in await history(prepared) if isinstance(e.data, CommandRejected)}
    for origin, poison in wanted.items():
        assert (origin in letters) == poison.dead or not poison.answered, poison.name
        if poison.dead:
            assert letters[origin].reason, poison.name
            whole = poison.value or b""
            kept = whole if len(whole) <= MAX_COMMAND_BYTES else whole[:EXCERPT_BYTES]
            assert letters[origin].value == kept, poison.name
            assert not letters[origin].replayed, poison.name
        if poison.answered:
            assert dict(poison.headers)["ce_id"].decode() in rejected, poison.name  # type: ignore[union-attr]


async def test_reading_ends_where_a_topic_ends_in_a_transaction(prepared: Settings) -> None:
    """A transaction's marker takes an offset and is no record."""
    place = TopicPartition(prepared.prefix + topics.commands("jobs"), 0)
    producer = AIOKafkaProducer(**client_options(prepared), transactional_id=f"{prepared.prefix}reading")
    async with connected(producer), producer.transaction():
        for n in range(3):
            await producer.send_and_wait(place.topic, str(n).encode(), partition=0)
    async with connected(new_consumer(prepared)) as consumer, asyncio.timeout(PATIENCE):
        found = [record async for _, records in read_to_end(consumer, {place: 1}) for record in records]
        assert [record.value for record in found] == [b"1", b"2"]
        assert [each async for each in read_to_end(consumer, {place: 4})] == []
