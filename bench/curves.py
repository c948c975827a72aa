"""Curves of runs to draw: five runs of many, beside a bare query of the bytes that they are made of."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.points import batch, made, stored
from bench.report import Figure
from events.hosting import open_pool
from events.language.streams import POINTS
from events.log.producer import Producer, ToSend
from events.process.settings import Settings
from forgelog import AsyncClient
from forgelog_pb.experiments.v1 import points_queries_pb2 as pb
from tests.integration.cluster import Cluster, cluster

RUNS = 1_000
POINTS_OF_RUN = 10_000
DRAWN = 5
CALLS = 20
PATH = "/forgelog.experiments.v1.PointQueries/GetCurves"


async def _fill(platform: Cluster, client: AsyncClient) -> list[str]:
    """Runs with their points, stored."""
    runs = await made(client, RUNS)
    ends: dict[int, int] = {}
    async with Producer(platform.settings) as producer:
        topic = platform.settings.prefix + POINTS.name
        for run in runs:
            value = batch(run, 0, 1, POINTS_OF_RUN).SerializeToString()
            (at,) = await producer.send_all([ToSend(topic, value, run.encode())])
            ends[at.partition] = max(at.offset, ends.get(at.partition, 0))
    await stored(client, [f"{POINTS.name}/{partition}@{offset}" for partition, offset in ends.items()], runs)
    return runs


async def _milliseconds(call: Any, *arguments: Any) -> float:
    """Median time of a call."""
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call(*arguments)
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken)[CALLS // 2]


async def figures(settings: Settings, runs: int) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    drawn: list[float] = []
    read: list[float] = []
    try:
        async with (
            cluster(settings, folder, nodes=0, gateway=True) as platform,
            AsyncClient(platform.gateway, token=platform.key) as client,
            platform.channel() as channel,
            await open_pool(settings) as pool,
        ):
            wanted = (await _fill(platform, client))[:: RUNS // DRAWN]
            request = pb.GetCurvesRequest(run_ids=wanted, width=1_000).SerializeToString()
            schema = f"{settings.schema_}_points"
            bare = (
                f"select data from {schema}.heads where run = any($1::text[]) union all select c.data from "
                f"{schema}.chunks c join {schema}.series s on s.number = c.series where s.run = any($1::text[])"
            )
            for _ in range(runs):
                drawn.append(await _milliseconds(channel.unary_unary(PATH), request))
                read.append(await _milliseconds(pool.fetch, bare, wanted))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    name = f"curves of {DRAWN} of {RUNS:,} runs with {POINTS_OF_RUN:,} points each"
    return [Figure(name, "ms", drawn, read, "bare query of their rows", target=100, higher_is_better=False)]
