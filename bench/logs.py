"""The log's own figures: append with decide, replay, rebuild into Postgres; beside bare aiokafka and bare COPY."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from aiokafka import TopicPartition

from bench.report import Figure
from events.hosting import open_pool
from events.language.jobs import SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log import topics
from events.log.consumers import new_consumer
from events.log.positions import EpochRule
from events.log.producer import new_producer
from events.log.publish import Outgoing, Publisher
from events.log.wire import Raw
from events.process.collector import spare_collections
from events.process.settings import Settings
from events.projections.rebuild import rebuild
from events.writer.partition import Partition
from events.writer.snapshots import Snapshots
from events.writer.writer import Writer

COMMANDS = 40_000


def _decider() -> Any:
    from services.jobs.decide import Jobs

    return Jobs()


def _projection() -> Any:
    from services.jobs.projections import PROJECTION

    return PROJECTION


@asynccontextmanager
async def _running(writer: Writer) -> AsyncIterator[None]:
    task = asyncio.create_task(writer.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _submits(count: int, turn: int) -> list[Outgoing]:
    spec = JobSpec(metadata=JobMetadata(name="bench"), command="true")
    return [Outgoing(SubmitJob(job_id=f"b{turn}-{n}", spec=spec), f"{turn}-{n}") for n in range(count)]


async def _ends(settings: Settings, topic: str) -> dict[TopicPartition, int]:
    async with new_consumer(settings) as consumer:
        places = [TopicPartition(settings.prefix + topic, number) for number in range(settings.partitions)]
        consumer.assign(places)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
        return ends


async def append(settings: Settings, snapshots: Snapshots, turn: int) -> float:
    """Events/s of one writer over commands that wait in Kafka: read, decode, decide, encode, append, ack.

    From the moment when it has caught up: a writer that starts reads again what was written since its last snapshot.
    """
    async with Publisher(settings) as publisher:
        await publisher.publish_many(_submits(COMMANDS, turn))
    own = topics.events("jobs")
    ends = (await _ends(settings, own)).items()
    writer = Writer(_decider(), settings, snapshots)

    def caught_up() -> bool:
        return writer.ready and all(
            partition.resume_of(own, place.partition).offset >= end
            for partition in writer.partitions.values()
            for place, end in ends
        )

    async with _running(writer):
        while not caught_up():
            await asyncio.sleep(0.001)
        started = time.perf_counter()
        first = sum(partition.next_offset for partition in writer.partitions.values())
        wanted = (await _ends(settings, topics.commands("jobs"))).values()
        while sum(p.resume_of(topics.commands("jobs"), n).offset for n, p in writer.partitions.items()) < sum(wanted):
            await asyncio.sleep(0.002)
        await asyncio.sleep(0)
        seconds = time.perf_counter() - started
        appended = sum(partition.next_offset for partition in writer.partitions.values()) - first
    if appended < COMMANDS:
        raise RuntimeError(f"the writer was through with {2 * COMMANDS - appended} events before it had caught up")
    return appended / seconds


async def bare_produce(settings: Settings, value: bytes, headers: list[tuple[str, bytes]]) -> float:
    """Records/s of bare aiokafka batches of the same size, acks=all, idempotent."""
    producer = new_producer(settings)
    await producer.start()
    topic = settings.prefix + topics.LOGS
    try:
        started = time.perf_counter()
        count = 0
        for _ in range(20):
            futures = []
            for partition in range(settings.partitions):
                builder = producer.create_batch()
                for _ in range(250):
                    builder.append(key=b"key", value=value, timestamp=None, headers=headers)
                    count += 1
                builder.close()
                futures.append(await producer.send_batch(builder, topic, partition=partition))
            await asyncio.gather(*futures)
        return count / (time.perf_counter() - started)
    finally:
        await producer.stop()


def _replay(settings: Settings, numbers: list[int], count: int, decode: bool) -> tuple[int, float]:
    """In a process of its own: read partitions from the start, epoch rule, decode, fold."""
    import uvloop

    spare_collections()

    async def main() -> tuple[int, float]:
        bare = {} if decode else {"key_deserializer": None}  # the raw limit is aiokafka's own reading
        topic = settings.prefix + topics.events("jobs")
        partitions: dict[int, Partition] = {n: Partition(_decider(), n, count) for n in numbers}
        rules = {number: EpochRule() for number in numbers}
        async with new_consumer(settings, **bare) as consumer:
            places = [TopicPartition(topic, number) for number in numbers]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            for place in places:
                consumer.seek(place, 0)
            open_ = set(places)
            events = 0
            started = time.perf_counter()
            while open_:
                for place, records in (await consumer.getmany(*open_, timeout_ms=1000)).items():
                    events += len(records)
                    if decode:
                        partition, rule = partitions[place.partition], rules[place.partition]
                        for record in records:
                            raw = Raw.of(record, settings.prefix)
                            if rule.admits(raw):
                                partition.fold(raw)
                    if records and records[-1].offset + 1 >= ends[place]:
                        open_.discard(place)
            return events, time.perf_counter() - started

    return uvloop.run(main())


async def replay(settings: Settings, decode: bool) -> float:
    """Events/s of two processes over the whole of events.jobs."""
    loop = asyncio.get_running_loop()
    half = settings.partitions // 2
    shares = [list(range(half)), list(range(half, settings.partitions))]
    with ProcessPoolExecutor(2) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, time.sleep, 0.2) for _ in shares))
        results = await asyncio.gather(
            *(loop.run_in_executor(pool, _replay, settings, share, settings.partitions, decode) for share in shares)
        )
    return sum(events for events, _ in results) / max(seconds for _, seconds in results)


async def bare_copy(settings: Settings, rows: int) -> float:
    """Rows/s of COPY into one table of the history's width."""
    db = await asyncpg.connect(settings.postgres_required)
    try:
        await db.execute("create temporary table bare (a int, b bigint, c text, d text, e timestamptz, f text)")
        text = "x" * 600
        now = await db.fetchval("select now()")
        data = [(1, n, "subject", "type", now, text) for n in range(rows)]
        started = time.perf_counter()
        await db.copy_records_to_table("bare", records=data)
        return rows / (time.perf_counter() - started)
    finally:
        await db.close()


async def figures(settings: Settings, runs: int) -> list[Figure]:
    """Append, replay and rebuild, `runs` times each."""
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    snapshots = Snapshots(settings, pool, settings.snapshot_events)
    await snapshots.prepare()
    sample = await _sample(settings, snapshots)
    appended, produced = [], []
    for turn in range(runs):
        appended.append(await append(settings, snapshots, turn + 1))
        produced.append(await bare_produce(settings, *sample))
    replayed = [await replay(settings, True) for _ in range(runs)]
    read = [await replay(settings, False) for _ in range(runs)]
    rebuilt, copied = [], []
    for _ in range(runs):
        result = await rebuild(settings, _projection())
        rebuilt.append(result.events / result.seconds)
        copied.append(await bare_copy(settings, 20_000))
    await pool.close()
    return [
        Figure("durable appended events, decide included", "events/s", appended, produced, "aiokafka batches", 26_000),
        Figure("replay: decode, epoch rule, fold (2 processes)", "events/s", replayed, read, "aiokafka read", 130_000),
        Figure("projection rebuild into Postgres", "events/s", rebuilt, copied, "COPY rows/s", 40_000),
    ]


async def _sample(settings: Settings, snapshots: Snapshots) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A real event's value and headers, for the bare producer."""
    await append(settings, snapshots, 0)
    async with new_consumer(settings) as consumer:
        place = TopicPartition(settings.prefix + topics.events("jobs"), 0)
        consumer.assign([place])
        consumer.seek(place, 1)
        record = await consumer.getone()
        return record.value, list(record.headers)
