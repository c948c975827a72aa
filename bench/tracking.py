"""`forgelog.run` in a program: what a call of `log` takes, and how fast its points reach the platform.

The program is a process of its own, with its sender beside it and the platform on the same machine. Beside a call, in
the same program: a bare copy of as many bytes into a mapped file. Beside the rate, in the same run: batches that were
made before, sent by sixteen callers.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE
from pathlib import Path

from bench import points
from bench.report import Figure
from events.process.settings import Settings
from forgelog import AsyncClient
from forgelog_pb.gateway.v1.points_pb2 import LogRequest
from tests.integration.cluster import Cluster, cluster

CALLS = 200_000
"""With a metric each; a tenth of them with ten."""
STRETCH = 50
"""Calls that are timed together; the median of all stretches counts, whatever else the machine did meanwhile."""

_PROGRAM = f"""
import json, mmap, statistics, tempfile, time
import forgelog

def per_call(work, count):
    taken = []
    for first in range(0, count, {STRETCH}):
        began = time.perf_counter()
        work(first, first + {STRETCH})
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) / {STRETCH} * 1e6

with tempfile.TemporaryFile() as file:
    file.truncate(1 << 25)
    room, data = mmap.mmap(file.fileno(), 1 << 25), bytes(36)

    def copy(first, last):
        for step in range(first, last):
            room[step * 36 : step * 36 + 36] = data

    bare = per_call(copy, {CALLS})

began = time.perf_counter()
with forgelog.run("bench") as run:
    run.log(loss=0.5, step=-1)
    assert run.flush(60), "the platform has not got the first point"
    first = time.perf_counter() - began

    def one(first, last):
        for step in range(first, last):
            run.log(loss=0.5, step=step)

    values = {{f"metric {{number}}": 0.5 for number in range(10)}}

    def ten(first, last):
        for step in range(first, last):
            run.log(values, step=step)

    began = time.perf_counter()
    found = {{"one": per_call(one, {CALLS}), "ten": per_call(ten, {CALLS} // 10), "bare": bare}}
    assert run.flush(60), "the platform has not got them"
    found["rate"] = {2 * CALLS} / (time.perf_counter() - began)
    found["first"] = first * 1000
    assert run.dropped == 0
print(json.dumps(found))
"""


async def program(platform: Cluster, spool: Path) -> dict[str, float]:
    """Run it: microseconds a call, and points/s until the platform has them."""
    environment = {**os.environ, **platform.place, "FORGELOG_SPOOL": str(spool)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, env=environment, stdout=PIPE, cwd=Path(__file__).parents[1]
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the program ended with {process.returncode}")
    found: dict[str, float] = json.loads(out)
    return found


async def prepared(platform: Cluster, client: AsyncClient) -> float:
    """Points/s of batches that were made before."""
    runs = await points.made(client, points.RUNS)
    requests = {
        run: [LogRequest(batch=each).SerializeToString() for each in points.batches(run, series=1)] for run in runs
    }
    rate, _ = await points.by_grpc(platform, requests)
    return rate


async def figures(settings: Settings, runs: int) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    found: list[dict[str, float]] = []
    limits: list[float] = []
    try:
        async with (
            cluster(settings, folder, nodes=0, gateway=True) as platform,
            AsyncClient(platform.gateway, token=platform.key) as client,
        ):
            await program(platform, folder / "spool")  # what is made and imported at the first use
            for _ in range(runs):
                found.append(await program(platform, folder / "spool"))
                limits.append(await prepared(platform, client))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    one, ten, bare, rate, first = ([each[name] for each in found] for name in ("one", "ten", "bare", "rate", "first"))
    limit, calls = "a bare copy of the bytes", f"prepared batches of {points.BATCH:,}"
    return [
        Figure("run.log with a metric", "µs", one, bare, limit, target=5.0, higher_is_better=False),
        Figure("run.log with ten metrics", "µs", ten, bare, limit, higher_is_better=False),
        Figure("points of run.log, until the log has them", "points/s", rate, limits, calls, target=100_000),
        Figure("forgelog.run, until the log has its first point", "ms", first, higher_is_better=False),
    ]
