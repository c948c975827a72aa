"""Searches over many runs through the gateway: the filters and orders of MLflow's pages, each with other values in each
call, beside a bare query of the newest runs.

`FORGELOG_BENCH_RUNS`: how many runs (100,000), in ten experiments of one project.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.asof import say
from bench.points import stored
from bench.report import Figure
from events.hosting import open_pool
from events.language.experiments import CreateRun
from events.language.streams import POINTS
from events.log.producer import Producer, ToSend
from events.log.publish import Outgoing, Publisher
from events.process.settings import Settings
from events.projections.positions import live_schema
from forgelog import AsyncClient
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from tests.integration.cluster import Cluster, cluster

RUNS = int(os.environ.get("FORGELOG_BENCH_RUNS", "100000"))
EXPERIMENTS = 10
PAGE = 100
CALLS = 40
"""Of each search, in each run."""
TOGETHER = 500
"""Commands, or records, that are published together."""
PATH = "/forgelog.experiments.v1.ExperimentQueries/SearchRuns"
RATES = ("0.1", "0.03", "0.01", "0.003", "0.001")
TEAMS = ("vision", "speech", "text", "search")
LONG = 6_000
"""Characters of a parameter that one run of a thousand has, each its own."""
METRICS = ("loss", "accuracy", "seconds")

T = TypeVar("T")

_PATIENCE = 1_800.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A search: what is asked for in the call of a number, and of how many experiments."""

    filter: Callable[[int], str] = lambda _: ""
    order: str = ""
    experiments: int = EXPERIMENTS
    found: int | None = None
    """How many runs it finds, where that is known."""


SEARCHES: dict[str, Asked] = {
    "the newest runs": Asked(),
    "the newest runs of an experiment": Asked(experiments=1),
    "a param and a metric": Asked(lambda n: f"params.lr = '{RATES[n % 5]}' and metrics.loss < {0.2 + n / 100}"),
    "a tag or a param": Asked(lambda n: f"tags.team = '{TEAMS[n % 4]}' or params.lr = '{RATES[n % 5]}'"),
    "the best by a metric": Asked(order="metrics.accuracy DESC"),
    "the best by a metric, of an experiment": Asked(order="metrics.accuracy DESC", experiments=1),
    "a threshold, the best by another metric": Asked(
        lambda n: f"metrics.accuracy > {0.99 + n / 10_000}", "metrics.loss"
    ),
    "a status and a name": Asked(lambda n: f"status = 'running' and name LIKE 'run {n:02d}%'"),
    f"a param of {LONG:,} characters": Asked(
        lambda n: f"params.prompt = '{prompt(n % max(RUNS // 1_000, 1))}'", found=1
    ),
}


def prompt(number: int) -> str:
    """That of the run `number * 1000`; they differ in their last characters alone."""
    return f"{'tell me ' * (LONG // 8)}"[: LONG - 8] + f"{number:8d}"


def run_of(number: int) -> str:
    return f"r-bench-{number:07d}"


def creations(experiments: list[str]) -> Iterator[CreateRun]:
    """Of all runs."""
    for number in range(RUNS):
        params = {"lr": RATES[number % 5], "layers": str(number % 7), "seed": str(number)}
        if number % 1_000 == 0:
            params["prompt"] = prompt(number // 1_000)
        yield CreateRun(
            run_id=run_of(number),
            experiment_id=experiments[number % EXPERIMENTS],
            name=f"run {number % 100:02d} {number}",
            params=params,
            tags={"team": TEAMS[number // 5 % 4]},
        )


def measured() -> Iterator[PointBatch]:
    """The metrics of all runs, a value each."""
    chance = np.random.default_rng(16)
    for number in range(RUNS):
        made = PointBatch(run_id=run_of(number))
        for key, value in zip(METRICS, chance.random(len(METRICS)), strict=True):
            column = np.array([value], "<f8").tobytes()
            made.series.add(
                key=key, steps=bytes(8), times=np.array([1_778_301_120_000 + number], "<i8").tobytes(), values=column
            )
        yield made


def groups(items: Iterator[T]) -> Iterator[list[T]]:
    """So many of them at a time as are published together."""
    while group := [*islice(items, TOGETHER)]:
        yield group


async def fill(platform: Cluster, client: AsyncClient, pool: Any) -> list[str]:
    """The experiments, once all runs are in the tables."""
    began = time.monotonic()
    experiments = [await client.experiments.create(f"bench {number}") for number in range(EXPERIMENTS)]
    async with Publisher(platform.settings) as publisher, Producer(platform.settings) as producer:
        for commands in groups(creations(experiments)):
            await publisher.publish_many([Outgoing(command) for command in commands])
        topic, ends = platform.settings.prefix + POINTS.name, {}
        for made in groups(measured()):
            records = [ToSend(topic, each.SerializeToString(), each.run_id.encode()) for each in made]
            for at in await producer.send_all(records):
                ends[at.partition] = at.offset
    say(f"{RUNS:,} runs were published after {time.monotonic() - began:.0f} s")
    positions = [f"{POINTS.name}/{partition}@{offset}" for partition, offset in ends.items()]
    await stored(client, positions, [run_of(0)], _PATIENCE)
    schema = live_schema(platform.settings, "experiments")
    admitted = f"select count(*) from \"{schema}\".runs where experiment_id <> ''"
    while await pool.fetchval(admitted) < RUNS:
        if time.monotonic() - began > _PATIENCE:
            raise RuntimeError("the runs do not come into the tables")
        await asyncio.sleep(1)
    say(f"they were in the tables after {time.monotonic() - began:.0f} s")
    return experiments


def p95(taken: list[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.95) - 1]


async def searched(call: Any, experiments: list[str], asked: Asked) -> float:
    """Milliseconds of the slowest but one in twenty calls."""
    taken = []
    for number in range(CALLS):
        first = number % EXPERIMENTS if asked.experiments == 1 else 0
        request = pb.SearchRunsRequest(
            project="local/default",
            experiment_ids=experiments[first : first + asked.experiments],
            filter=asked.filter(number),
            order_by=[asked.order] if asked.order else [],
            page={"limit": PAGE},
        ).SerializeToString()
        began = time.perf_counter()
        answer = await call(request)
        taken.append((time.perf_counter() - began) * 1000)
        found = len(pb.SearchRunsResponse.FromString(answer).runs)
        if found == 0 or (asked.found is not None and found != asked.found):
            raise RuntimeError(f"{asked.filter(number)[:200]!r} finds {found} runs")
    return p95(taken)


async def figures(settings: Settings, runs: int) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    taken: dict[str, list[float]] = {name: [] for name in SEARCHES}
    bare: list[float] = []
    try:
        async with (
            cluster(settings, folder, nodes=0, gateway=True) as platform,
            AsyncClient(platform.gateway, token=platform.key) as client,
            platform.channel() as channel,
            await open_pool(settings) as pool,
        ):
            experiments = await fill(platform, client, pool)
            call = channel.unary_unary(PATH)
            schema = live_schema(settings, "experiments")
            newest = f'select * from "{schema}".runs order by started_at desc, run_id desc limit {PAGE}'
            for turn in range(runs + 1):
                for name, asked in SEARCHES.items():
                    found = await searched(call, experiments, asked)
                    if turn:  # the first plans, and fills the caches
                        taken[name].append(found)
                if turn:
                    bare.append(await queried(pool, newest))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        Figure(
            f"search of {RUNS:,} runs, p95: {name}",
            "ms",
            taken[name],
            bare,
            "bare query of the newest",
            100.0,
            higher_is_better=False,
        )
        for name in SEARCHES
    ]


async def queried(pool: Any, query: str) -> float:
    """The same of a bare query."""
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await pool.fetch(query)
        taken.append((time.perf_counter() - began) * 1000)
    return p95(taken)
