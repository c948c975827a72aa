"""Points of runs: by gRPC through the gateway until the log has them, and until they are stored; what a repeat costs.

Beside it, in the same run: a bare producer of the same records.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.report import Figure
from events.language.streams import POINTS
from events.log.access import client_options
from events.log.producer import Producer, ToSend
from events.log.topics import wanted
from events.process.settings import Settings
from forgelog import AsyncClient
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from forgelog_pb.gateway.v1.points_pb2 import LogRequest, LogResponse
from tests.integration.cluster import Cluster, cluster

RUNS = 16
"""Runs, each logged by a caller of its own."""
BATCHES = 64
"""Of each run."""
BATCH = 1000
"""Points of a batch."""
COUNT = RUNS * BATCHES * BATCH
HISTORY = (1_000, 10_000_000)
"""Points that a run has when a batch of it is repeated."""
OLD_BATCH = 10_000
"""Points of a batch of the longer of the two, which are made first."""
REPEATS = 20
BARE = "bare.points"
"""A topic like that of points, which nobody reads."""
LOG = "/forgelog.gateway.v1.Points/Log"

_PATIENCE = 300.0


def batch(run: str, first: int, series: int, count: int = BATCH) -> PointBatch:
    """A batch of a run, from a step on, of so many series with as many points each."""
    chance = np.random.default_rng(first)
    made = PointBatch(run_id=run)
    size = count // series
    steps = np.arange(first, first + size, dtype="<i8")
    times = (1_778_301_120_000 + steps * 50 + chance.integers(0, 20, size)).astype("<i8")
    for number in range(series):
        values = 1 / (1 + steps) + chance.normal(0, 0.01, size)
        made.series.add(key=f"metric-{number}", steps=steps.tobytes(), times=times.tobytes(), values=values.tobytes())
    return made


def batches(run: str, series: int) -> Iterator[PointBatch]:
    """All of a run."""
    size = BATCH // series
    return (batch(run, number * size, series) for number in range(BATCHES))


async def by_grpc(platform: Cluster, requests: dict[str, list[bytes]]) -> tuple[float, list[str]]:
    """Points/s until the log has them all, and the last positions."""
    async with platform.channel() as channel:
        call = channel.unary_unary(LOG)

        async def caller(given: list[bytes]) -> bytes:
            last = b""
            for request in given:
                last = await call(request)
            return last

        began = time.perf_counter()
        answers = await asyncio.gather(*map(caller, requests.values()))
        rate = COUNT / (time.perf_counter() - began)
    return rate, [LogResponse.FromString(answer).position for answer in answers]


async def by_producer(settings: Settings, values: dict[str, list[bytes]]) -> float:
    """Points/s of a bare producer, as many callers as runs."""
    async with Producer(settings) as producer:
        topic = settings.prefix + BARE

        async def caller(run: str, given: list[bytes]) -> None:
            for value in given:
                await producer.send_all([ToSend(topic, value, run.encode())])

        began = time.perf_counter()
        await asyncio.gather(*(caller(run, given) for run, given in values.items()))
        return COUNT / (time.perf_counter() - began)


async def make_bare(settings: Settings) -> None:
    """Make the topic `BARE`."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        partitions, config = wanted(settings.partitions, settings)[POINTS.name]
        new = NewTopic(settings.prefix + BARE, num_partitions=partitions, replication_factor=1, topic_configs=config)
        await admin.create_topics([new])
    finally:
        await admin.close()


async def stored(client: AsyncClient, positions: list[str], runs: list[str], patience: float = _PATIENCE) -> None:
    """Wait until points are in the tables, at most so many seconds."""
    client._core.wrote(positions)
    until = time.monotonic() + patience
    while True:
        try:
            await client.runs.metrics(runs)
            return
        except Exception:
            if time.monotonic() > until:
                raise


async def made(client: AsyncClient, count: int) -> list[str]:
    """New runs."""
    return [await client.runs.create("bench") for _ in range(count)]


async def rates(platform: Cluster, client: AsyncClient, series: int) -> tuple[float, float, float]:
    """Points/s until the log has them, until they are stored, and of a bare producer."""
    runs = await made(client, RUNS)
    messages = {run: [*batches(run, series)] for run in runs}
    requests = {run: [LogRequest(batch=each).SerializeToString() for each in given] for run, given in messages.items()}
    began = time.perf_counter()
    logged, positions = await by_grpc(platform, requests)
    await stored(client, positions, runs)
    kept = COUNT / (time.perf_counter() - began)
    values = {run: [each.SerializeToString() for each in given] for run, given in messages.items()}
    return logged, kept, await by_producer(platform.settings, values)


async def aged(platform: Cluster, client: AsyncClient, history: int) -> str:
    """A run with so many points, stored."""
    (run,) = await made(client, 1)
    size = min(history, OLD_BATCH)
    values = (batch(run, first, 1, size).SerializeToString() for first in range(0, history, size))
    at: Any = None
    async with Producer(platform.settings) as producer:
        topic = platform.settings.prefix + POINTS.name
        while group := [ToSend(topic, value, run.encode()) for value in islice(values, 20)]:
            *_, at = await producer.send_all(group)
    await stored(client, [f"{POINTS.name}/{at.partition}@{at.offset}"], [run])
    return run


async def repeat(platform: Cluster, client: AsyncClient, run: str, history: int) -> float:
    """Milliseconds from a repeated batch to its place in the tables, of a run with so many points."""
    size = min(history, OLD_BATCH)
    old = batch(run, history // 2 // size * size, 1, size)
    request = LogRequest(batch=PointBatch(run_id=run))
    (series,) = old.series
    request.batch.series.add(
        key=series.key, **{name: getattr(series, name)[: 8 * BATCH] for name in ("steps", "times", "values")}
    )
    data = request.SerializeToString()
    taken = []
    async with platform.channel() as channel:
        call = channel.unary_unary(LOG)
        for _ in range(REPEATS):
            began = time.perf_counter()
            answer = LogResponse.FromString(await call(data))
            client._core.wrote([answer.position])
            await client.runs.metrics([run])
            taken.append((time.perf_counter() - began) * 1000)
    (metric,) = await client.runs.metrics([run])
    if metric.count != history:
        raise RuntimeError(f"{metric.count} points instead of {history}")
    return sorted(taken)[len(taken) // 2]


async def figures(settings: Settings, runs: int) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    one: list[tuple[float, float, float]] = []
    ten: list[tuple[float, float, float]] = []
    short: list[float] = []
    long: list[float] = []
    try:
        async with (
            cluster(settings, folder, nodes=0, gateway=True) as platform,
            AsyncClient(platform.gateway, token=platform.key) as client,
        ):
            await make_bare(settings)
            await rates(platform, client, 1)  # what is made and imported at the first use
            young, old = [await aged(platform, client, history) for history in HISTORY]
            for _ in range(runs):
                one.append(await rates(platform, client, 1))
                ten.append(await rates(platform, client, 10))
                short.append(await repeat(platform, client, young, HISTORY[0]))
                long.append(await repeat(platform, client, old, HISTORY[1]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    limit = "bare producer of the same records"
    found = []
    for name, taken in (("1,000 of a metric", one), ("100 of ten metrics", ten)):
        logged, kept, bare = (list(column) for column in zip(*taken, strict=True))
        said = f"points by gRPC, a call with {name}"
        found.append(Figure(f"{said}, until the log has them", "points/s", logged, bare, limit, target=100_000))
        found.append(Figure(f"{said}, until they are in tables", "points/s", kept, bare, limit, target=100_000))
    name = f"a repeated batch of 1,000 until it is done, of {HISTORY[1]:,} points"
    found.append(Figure(name, "ms", long, short, f"of {HISTORY[0]:,} points", higher_is_better=False))
    return found
