"""Points of a stream through its intake into Postgres; beside bare COPY of the rows that it wrote, and bare reading.

The stream is `tests.points.stream`: runs whose records have 1,000 points of one series, as a training loop sends them
that logs in batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import numpy as np
from aiokafka import TopicPartition

from bench.report import Figure
from events.log import topics
from events.log.consumers import new_consumer
from events.log.envelope import Position
from events.log.producer import Producer, ToSend
from events.process.settings import Settings
from events.service import open_pool
from events.streams.intake import Intake
from tests.points.stream import POINTS, PointBatch, Points

RUNS = 32
RECORDS = 64
"""Of each run."""
BATCH = 1000
"""Points of a record."""
COUNT = RUNS * RECORDS * BATCH

_PATIENCE = 300.0


def _records(topic: str) -> Iterator[ToSend]:
    chance = np.random.default_rng(1)
    for number in range(RECORDS):
        for run in range(RUNS):
            steps = np.arange(number * BATCH, (number + 1) * BATCH, dtype="<i8")
            times = 1_700_000_000_000 + steps * 50 + chance.integers(0, 20, BATCH)
            values = 1 / (1 + steps) + chance.normal(0, 0.01, BATCH)
            batch = PointBatch(run_id=f"run-{run}")
            batch.series.add(
                key="loss", steps=steps.tobytes(), times=times.astype("<i8").tobytes(), values=values.tobytes()
            )
            yield ToSend(topic, batch.SerializeToString(), batch.run_id.encode())


async def _send(settings: Settings) -> list[Position]:
    """The last record of each partition."""
    ends: dict[int, int] = {}
    async with Producer(settings) as producer:
        waiting = [*_records(settings.prefix + POINTS.name)]
        for first in range(0, len(waiting), 100):
            for at in await producer.send_all(waiting[first : first + 100]):
                ends[at.partition] = max(at.offset, ends.get(at.partition, 0))
    return [Position(POINTS.name, partition, offset) for partition, offset in ends.items()]


async def through_intake(settings: Settings, pool: asyncpg.Pool, ends: list[Position]) -> float:
    """Points/s, from the moment when the tables are there."""
    intake = Intake(Points())
    task = asyncio.create_task(intake.run(settings, pool))
    try:
        while intake.pool is None:
            await asyncio.sleep(0.001)
        began = time.perf_counter()
        if missing := await intake.wait_for(ends, _PATIENCE):
            raise RuntimeError(f"not stored: {missing}; {intake.trouble}")
        return COUNT / (time.perf_counter() - began)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def bare_copy(pool: asyncpg.Pool, schema: str) -> float:
    """Points/s of COPY, where the rows are those that the intake left."""
    async with pool.acquire() as db:
        stored = await db.fetchval(
            f"select sum(count) from (select count from {schema}.chunks union all select count from {schema}.heads) c"
        )
        if stored != COUNT:
            raise RuntimeError(f"{stored} points are stored instead of {COUNT}")
        rows = [tuple(row) for row in await db.fetch(f"select * from {schema}.chunks")]
        await db.execute(f"create table {schema}.bare (like {schema}.chunks including all)")
        began = time.perf_counter()
        await db.copy_records_to_table("bare", schema_name=schema, records=rows)
        took = time.perf_counter() - began
    return sum(row[5] for row in rows) / took


async def bare_read(settings: Settings, ends: list[Position]) -> float:
    """Points/s of a consumer that does nothing with what it reads."""
    async with new_consumer(settings) as consumer:
        left = {TopicPartition(settings.prefix + POINTS.name, end.partition): end.offset for end in ends}
        consumer.assign([*left])
        began = time.perf_counter()
        for place in left:
            consumer.seek(place, 0)
        while left:
            for place, raws in (await consumer.getmany(timeout_ms=1000, max_records=2000)).items():
                if raws and raws[-1].offset >= left.get(place, -1):
                    left.pop(place, None)
        return COUNT / (time.perf_counter() - began)


async def figures(settings: Settings, runs: int) -> list[Figure]:
    topics.STREAMS = (*topics.STREAMS, POINTS)
    await topics.ensure_topics(settings)
    ends = await _send(settings)
    taken, copied, read = [], [], []
    for turn in range(runs):
        own = settings.model_copy(update={"schema_": f"{settings.schema_}{turn}"})
        async with await open_pool(own) as pool:
            taken.append(await through_intake(own, pool, ends))
            copied.append(await bare_copy(pool, f"{own.schema_}_points"))
            read.append(await bare_read(own, ends))
            await pool.execute(f"drop schema {own.schema_}_points cascade")
    name = "points of a stream through its intake into Postgres"
    return [
        Figure(name, "points/s", taken, copied, "bare COPY of the same chunks", target=100_000),
        Figure(f"{name}, beside reading", "points/s", taken, read, "bare consumer"),
    ]
