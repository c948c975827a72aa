"""Steps of a pipeline that do nothing, and many tasks; beside Prefect and Dagster in the same run.

The platform's own services, gateway, node and worker run on this machine, as in `bench.flow`. A step counts from the
end of the one before to its own end, as their events tell it: the pipeline's decision, the dispatch, the worker, its
report through the gateway, and the event that is durable then. The time of a whole run goes on until the run's row
says that it has ended. The peers are measured where `make pipeline-peers` could install them.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.peers.environment import Unavailable, told
from bench.report import Figure
from events.language.pipelines.checks import spec_errors
from events.language.pipelines.pipeline import PipelineSpec
from events.language.resources import NodeRegistered
from events.process.settings import Settings
from forgelog import AsyncClient
from tests.integration.cluster import cluster

PEERS = Path(__file__).parents[1] / "build" / "peers" / "pipelines" / "bin" / "python"

CHAIN, TASKS, DAG = 100, 10_000, 1_000
"""Steps one after the other; tasks of one stage; stages of the graph that is checked."""

PEERS_TASKS = {"Prefect": 1_000, "Dagster": 200}
"""Tasks of a peer's fan-out: so many take it a minute or so."""

SMALL = {"cpus": 0.5, "memory_bytes": 512 << 20}

SECONDS = 300.0


def chain() -> dict[str, Any]:
    """A pipeline of steps that do nothing, each after the one before."""
    stages = [{"id": f"s{number}", "after": [f"s{number - 1}"] if number else []} for number in range(CHAIN)]
    return {"stages": stages, "execution": {"max_workers": 1, "worker": SMALL}}


def fan_out() -> dict[str, Any]:
    """A pipeline of one stage that is many tasks which do nothing."""
    stages = [{"id": "tasks", "for_each": {"count": TASKS}}]
    return {"stages": stages, "execution": {"max_workers": 1, "worker": SMALL}}


def validation() -> float:
    """Milliseconds to find all that is wrong with a graph of many stages: two cycles and three unknown inputs."""
    stages: list[dict[str, Any]] = [
        {"id": f"s{number}", "after": [f"s{number - 1}"] if number else []} for number in range(DAG)
    ]
    stages[0]["after"] = [f"s{DAG // 2}"]
    stages[DAG // 2 + 1]["after"] = [f"s{DAG - 1}"]
    for number in range(3):
        stages[number + 10]["inputs"] = {"rows": {"stage": f"unknown{number}"}}
    spec = PipelineSpec.model_validate({"stages": stages})
    began = time.perf_counter()
    found = spec_errors(spec)
    taken = (time.perf_counter() - began) * 1000
    assert len(found) == 5, found
    return taken


async def gaps(client: AsyncClient, number: int) -> list[float]:
    """Milliseconds from the end of each step of a chain to the end of the next."""
    ends = sorted(
        row.ended_at.timestamp() for row in await client.pipeline_runs.stages("chain", number) if row.ended_at
    )
    assert len(ends) == CHAIN, len(ends)
    return [(later - earlier) * 1000 for earlier, later in pairwise(ends)]


async def _run(client: AsyncClient, name: str) -> tuple[int, float]:
    """A run's number, and the seconds until its row says that it has completed."""
    began = time.perf_counter()
    number = await client.pipeline_runs.start(name)
    row = await client.pipeline_runs.wait(name, number, timeout=SECONDS)
    taken = time.perf_counter() - began
    assert row.status == "completed", row
    return number, taken


def _peers(runs: int) -> Iterator[Figure]:
    for name, count in PEERS_TASKS.items():
        answers: list[dict[str, Any]] = []
        try:
            if not PEERS.exists():
                raise Unavailable("`make pipeline-peers` could not install it")
            for _ in range(runs):
                answers.append(told(PEERS, name.lower(), count))
        except Unavailable as error:
            print(f"{name} is not measured: {error}", file=sys.stderr)
        if answers:
            named = f"{name} {answers[0]['version']}"
            steps = [each["step_ms"] for each in answers]
            yield Figure(f"a step that does nothing, {named}", "ms", steps, higher_is_better=False)
            yield Figure(f"tasks that do nothing, {named}", "tasks/s", [each["tasks_per_s"] for each in answers])


async def figures(settings: Settings, runs: int) -> list[Figure]:
    """A step's time, the rate of tasks, and the time of a validation, `runs` times each."""
    steps, chains, rates = [], [], []
    with tempfile.TemporaryDirectory(prefix="forgelog-bench-") as folder:
        async with (
            cluster(settings, Path(folder), gateway=True) as platform,
            AsyncClient(platform.gateway, token=platform.key) as client,
        ):
            await platform.event(NodeRegistered)
            for name, spec in (("chain", chain()), ("tasks", fan_out())):
                await client.pipelines.define(name, spec)
                await client.pipelines.activate(name)
                await _run(client, name)  # the first starts the worker
            platform.watch_no_more()
            for _ in range(runs):
                number, taken = await _run(client, "chain")
                steps.append(statistics.median(await gaps(client, number)))
                chains.append(taken / CHAIN * 1000)
                rates.append(TASKS / (await _run(client, "tasks"))[1])
            for name in ("chain", "tasks"):
                await client.pipelines.retire(name)
                async with asyncio.timeout(SECONDS):
                    while not all(worker.ended_at for worker in await client.pipeline_runs.workers(name)):
                        await asyncio.sleep(0.1)
    return [
        Figure("a pipeline's step that does nothing, p50", "ms", steps, target=15, higher_is_better=False),
        Figure(
            f"a run of {CHAIN} such steps, until its row says so, for each step",
            "ms",
            chains,
            target=15,
            higher_is_better=False,
        ),
        Figure(f"{TASKS:,} tasks of a stage that do nothing", "tasks/s", rates, target=TASKS / 5),
        Figure(
            f"all errors of a graph of {DAG:,} stages found",
            "ms",
            [validation() for _ in range(runs)],
            target=50,
            higher_is_better=False,
        ),
        *await asyncio.to_thread(lambda: list(_peers(runs))),
    ]
