"""A large artifact by `log_artifact`, of MLflow's unchanged client and of our own: how fast, by how much the gateway
grows meanwhile, and what the same file costs when it is logged again.

`FORGELOG_BENCH_GIB`: how large (3). The folder for temporary files needs twice that.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

import psutil

from bench.report import Figure
from events.process.settings import Settings
from forgelog import AsyncClient
from tests.integration.cluster import GATEWAY, Cluster, cluster

SIZE = int(os.environ.get("FORGELOG_BENCH_GIB", "3")) << 30
_PIECE = 1 << 24
_LOOK = 0.02
"""Seconds between two looks at the gateway's memory."""

_PROGRAM = """
import sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
client.log_artifact(sys.argv[2], sys.argv[3])
"""


def make(path: Path) -> None:
    """A file of random bytes: what repeats would be too easy."""
    with path.open("wb") as file:
        for _ in range(SIZE // _PIECE):
            file.write(os.urandom(_PIECE))


def copy(source: Path, target: Path) -> float:
    """MiB/s of a bare copy by reads and writes."""
    began = time.perf_counter()
    with source.open("rb") as read, target.open("wb") as written:
        while piece := read.read(1 << 20):
            written.write(piece)
    rate = SIZE / (1 << 20) / (time.perf_counter() - began)
    target.unlink()
    return rate


def stored(folder: Path) -> float:
    """MiB of all files of the platform's object store."""
    sizes = (each.stat().st_size for each in (folder / "objects").rglob("*") if each.is_file())
    return sum(sizes) / (1 << 20)


async def watched(gateway: psutil.Process, sending: Awaitable[None]) -> tuple[float, float]:
    """MiB/s, and by how many MiB the gateway's own memory grew meanwhile."""
    before = most = gateway.memory_info().rss
    began = time.perf_counter()
    task = asyncio.ensure_future(sending)
    while not (await asyncio.wait([task], timeout=_LOOK))[0]:
        most = max(most, gateway.memory_info().rss)
    task.result()
    return SIZE / (1 << 20) / (time.perf_counter() - began), (most - before) / (1 << 20)


async def by_mlflow(platform: Cluster, run: str, path: Path) -> None:
    own = {**os.environ, "MLFLOW_TRACKING_TOKEN": platform.key}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, f"http://{platform.gateway}", run, str(path), env=own, cwd=path.parent
    )
    if await process.wait():
        raise RuntimeError(f"MLflow's client ended with {process.returncode}")


async def by_client(client: AsyncClient, run: str, path: Path) -> None:
    await client.runs.log_artifact(run, path)


async def figures(settings: Settings, runs: int) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    rates: dict[str, list[float]] = {"MLflow's client": [], "our client": []}
    grown, bare, again = [], [], []
    path = folder / "weights"
    (folder / "platform").mkdir()
    try:
        async with (
            cluster(settings, folder / "platform", nodes=0, gateway=True) as platform,
            AsyncClient(platform.gateway, token=platform.key) as client,
        ):
            gateway = platform.process(GATEWAY)
            for _ in range(runs):
                for name, sent in rates.items():
                    await asyncio.to_thread(make, path)
                    bare.append(await asyncio.to_thread(copy, path, folder / "copy"))
                    before = stored(platform.folder)
                    for turn in range(2):
                        run = await client.runs.create("bench")
                        log = by_client(client, run, path) if name == "our client" else by_mlflow(platform, run, path)
                        rate, more = await watched(gateway, log)
                        grown.append(more)
                        if turn == 0:
                            sent.append(rate)
                    again.append(stored(platform.folder) - before - SIZE / (1 << 20))
                    shutil.rmtree(platform.folder / "objects", ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    what = f"an artifact of {SIZE >> 30} GiB"
    return [
        *(Figure(f"{what} by {name}", "MiB/s", sent, bare, "a bare copy") for name, sent in rates.items()),
        Figure(f"{what}: the gateway grows, at most", "MiB", [max(grown)], target=64.0, higher_is_better=False),
        Figure(f"{what}, logged twice: stored more than once", "MiB", again, target=1.0, higher_is_better=False),
    ]
