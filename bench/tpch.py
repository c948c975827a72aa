"""TPC-H: eight queries as stages of a pipeline, beside bare DuckDB with the same texts on the same files in one run.

A stage is done as a worker does it: in a worker's executor, which resolves the inputs, compiles and runs the query in
the stage's own locked DuckDB, writes the rows aside as a version of a dataset, and publishes them. What counts is the
time from the order to the executor's answer, for both phases. Bare DuckDB is `bench.tpch_bare`, in a process that is as
warm. The two take turns, and their rows must be the same.

FORGELOG_BENCH_FACTOR: the factor of the tables (5: 1.8 GB of Parquet, which `tpchgen-cli` makes once, in build/tpch).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from bench.report import Figure
from bench.tpch_queries import QUERIES, READS
from events.process.settings import Settings
from forgelog.worker.framing import Message
from forgelog.worker.printing import Printing
from forgelog.worker.process import Executor, Spares
from forgelog.worker.serving import share_of

MEMORY = 2 << 30
"""Of the stage: what its executor may hold is a part of it."""
THREADS = 2
MOST = 1.3
"""Times bare DuckDB."""

ROOT = Path(__file__).parents[1] / "build" / "tpch"
BARE = (sys.executable, "-P", "-m", "bench.tpch_bare")


def tables(factor: str) -> Path:
    """The folder of the tables as Parquet; they are made where they are not there."""
    folder = ROOT / f"factor-{factor}"
    if folder.exists():
        return folder
    generator = Path(sys.executable).with_name("tpchgen-cli")
    ROOT.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=ROOT))
    try:
        command = [str(generator), "parquet", "--quiet", "-s", factor, "--output-dir", str(made)]
        subprocess.run(command, check=True)
        with suppress(OSError):  # another process has made them
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def stage_of(name: str, data: Path) -> dict[str, Any]:
    """A query as a stage that reads the tables and writes a dataset."""
    return {
        "id": name,
        "inputs": {
            table: {"source": {"type": "file_system", "path": str(data / f"{table}.parquet")}} for table in READS[name]
        },
        "transformations": [{"type": "custom", "custom": {"sql": QUERIES[name]}}],
        "sink": {"type": "dataset", "dataset": name},
    }


class Stages:
    """The executors of a worker, with the folders that they work in."""

    def __init__(self, spares: Spares, folder: Path, data: Path, **worker: Any) -> None:
        """`worker`: more of its `WorkerSpec`."""
        self._spares, self._folder, self._data, self._worker = spares, folder, data, worker
        self._attempt = 0

    async def run(self, name: str) -> Message:
        """Do a query's stage and publish its rows: the seconds that it took, its CPU's, the most bytes that it held,
        and the files of its rows."""
        self._attempt += 1
        began = time.perf_counter()
        ran = await self._perform(name, "run")
        done = await self._perform(name, "publish", manifest=ran["prepared"]["manifest"], dataset_version=self._attempt)
        seconds = time.perf_counter() - began
        made = ran["prepared"]["manifest"]
        files = [f"{made['aside'].removeprefix('file://')}/{file['path']}" for file in made["files"]]
        return {
            "seconds": seconds,
            "cpu": sum(each["metrics"]["cpu_seconds"] for each in (ran, done)),
            "peak": max(each["metrics"]["peak_memory_bytes"] for each in (ran, done)),
            "files": files,
        }

    async def _perform(self, name: str, phase: str, **more: Any) -> Message:
        work = {
            "phase": phase,
            "run_id": "tpch.1",
            "attempt": self._attempt,
            "stage": stage_of(name, self._data),
            "worker": {
                "pipeline_id": "tpch",
                "worker": "pipe.tpch.w1",
                "pipeline_version": 1,
                "cpus": THREADS,
                "datasets_url": (self._folder / "datasets").as_uri(),
                **self._worker,
            },
            "project": "local/default",
            "scratch": str(self._folder / "scratch"),
            **more,
        }
        done = await (await self._spares.take()).perform(work, _answer)
        if failed := done.get("failed"):
            raise RuntimeError(f"{name}: {failed}")
        return done


async def _answer(question: Message) -> Message:
    """What the platform would say: no dataset asks anything by itself."""
    assert question["ask"] == "rules", question
    return {"answer": {"rules": [], "required": []}}


@asynccontextmanager
async def stages(data: Path, memory: int = MEMORY, **worker: Any) -> AsyncIterator[Stages]:
    """A worker's executors, which end with the block. What they print goes to stderr."""
    printing = Printing(2, 1 << 20)
    spares = Spares(lambda: Executor.start(printing, share_of(memory)))
    with tempfile.TemporaryDirectory(prefix="forgelog-tpch-") as folder:
        try:
            yield Stages(spares, Path(folder), data, **worker)
        finally:
            await spares.close()


@asynccontextmanager
async def _bare() -> AsyncIterator[Executor]:
    process = await Executor.start(Printing(2, 1 << 20), 1 << 50, command=BARE)
    try:
        yield process
    finally:
        await process.end()


def same(name: str, data: Path, files: list[str]) -> None:
    """Raises AssertionError if the rows of a stage, in their order, are not those of the query. DOUBLE values may
    differ in the last digits."""
    with duckdb.connect(config={"threads": THREADS}) as connection:
        for table in READS[name]:
            connection.execute(f"CREATE VIEW {table} AS FROM read_parquet('{data}/{table}.parquet')")
        expected = _plain(connection.execute(QUERIES[name]).fetchall())
        got = _plain(connection.execute("SELECT * FROM read_parquet($1)", [files]).fetchall())
    assert got == expected, f"{name}: the stage has {len(got)} rows, and the query {len(expected)}"


def _plain(rows: list[tuple[Any, ...]]) -> list[str]:
    return [repr(tuple(f"{each:.12g}" if isinstance(each, float) else each for each in row)) for row in rows]


async def measured(data: Path, runs: int) -> dict[str, list[tuple[Message, Message]]]:
    """By query: what the stage and what bare DuckDB took, side by side, `runs` times. The first of a query is not
    counted."""
    found: dict[str, list[tuple[Message, Message]]] = {name: [] for name in QUERIES}
    async with stages(data) as ours, _bare() as other:
        for number in range(runs + 1):
            for name in QUERIES:
                work = {"query": name, "folder": str(data), "threads": THREADS, "memory": 0}
                if number % 2:
                    stage, bare = await ours.run(name), await other.perform(work, _answer)
                else:
                    bare, stage = await other.perform(work, _answer), await ours.run(name)
                if number:
                    found[name].append((stage, bare))
                else:
                    await asyncio.to_thread(same, name, data, stage["files"])
    return found


async def figures(_settings: Settings, runs: int) -> list[Figure]:
    """Each query's time and that of all of them, as stages and bare; the most memory of both. Needs no server."""
    factor = os.environ.get("FORGELOG_BENCH_FACTOR", "5")
    found = await measured(await asyncio.to_thread(tables, factor), runs)

    def figure(what: str, pairs: list[tuple[Message, Message]], key: str = "seconds") -> Figure:
        limits = [bare[key] for _, bare in pairs]
        return Figure(
            f"TPC-H at factor {factor}: {what}",
            "s",
            [stage[key] for stage, _ in pairs],
            limits,
            "bare DuckDB",
            target=MOST * statistics.median(limits),
            higher_is_better=False,
        )

    whole = [
        tuple({key: sum(each[side][key] for each in run) for key in ("seconds", "cpu")} for side in (0, 1))
        for run in zip(*found.values(), strict=True)
    ]
    peaks = [
        [max(pair[side]["peak"] for pair in run) / (1 << 20) for run in zip(*found.values(), strict=True)]
        for side in (0, 1)
    ]
    return [
        *(figure(f"{name} as a stage", pairs) for name, pairs in found.items()),
        figure("all as stages", whole),
        figure("all as stages, CPU", whole, "cpu"),
        Figure(
            f"TPC-H at factor {factor}: most memory of an executor",
            "MiB",
            peaks[0],
            peaks[1],
            "bare DuckDB without a limit",
            target=share_of(MEMORY) >> 20,
            higher_is_better=False,
        ),
    ]
