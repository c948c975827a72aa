"""``make bench``: every figure of DESIGN section 7 that there is, each beside its raw limit, in one run.

    python -m bench [SUITE ...] [--runs N] [--output table|json|markdown]

Starts embedded servers of its own in a temporary folder, unless FORGELOG_TEST_KAFKA and FORGELOG_TEST_POSTGRES name
some. Machines are noisy: compare ratios, not figures of different runs.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil
import uvloop
from rich.console import Console

from bench.report import Figure, markdown, table
from events.runtime.service import spare_collections
from events.runtime.settings import Settings
from forgelog.embedded.kafka import Kafka
from forgelog.embedded.postgres import Postgres
from forgelog.embedded.process import Child, wait_ready

SUITES = {"log": "bench.logs", "scheduling": "bench.scheduling", "queries": "bench.gateway", "flow": "bench.flow"}
"""Name → module with ``async figures(settings, runs) -> list[Figure]``."""


@asynccontextmanager
async def servers() -> AsyncIterator[tuple[str, str]]:
    """Addresses of a broker and a database, ended with the block if this started them."""
    kafka, postgres = os.environ.get("FORGELOG_TEST_KAFKA"), os.environ.get("FORGELOG_TEST_POSTGRES")
    if kafka and postgres:
        yield kafka, postgres
        return
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    broker = Kafka(folder / "kafka", folder / "logs" / "kafka.log")
    database = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
    children: list[Child] = []
    try:
        specs = await asyncio.gather(asyncio.to_thread(broker.prepare), asyncio.to_thread(database.prepare))
        children.extend(Child.start(spec) for spec in specs)
        await wait_ready(children[0], broker.ready, broker.ready_seconds)
        await wait_ready(children[1], database.ready, database.ready_seconds)
        yield broker.address, database.address
    finally:
        await asyncio.gather(*(child.stop() for child in children))
        shutil.rmtree(folder, ignore_errors=True)


def machine() -> str:
    """What this was measured on."""
    memory = psutil.virtual_memory().total / (1 << 30)
    model = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open() as info:
        model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), model)
    return (
        f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GiB, Python {platform.python_version()}, "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )


async def measure(names: list[str], runs: int) -> list[Figure]:
    """The figures of these suites."""
    figures: list[Figure] = []
    console = Console(stderr=True)
    async with servers() as (kafka, postgres):
        for name in names:
            console.print(f"measuring {name}, {runs} runs ...")
            run = f"bench{os.getpid()}{name}"
            settings = Settings(kafka=kafka, postgres=postgres, prefix=f"{run}.", schema_=run)
            figures += await importlib.import_module(SUITES[name]).figures(settings, runs)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the platform.")
    parser.add_argument("suites", nargs="*", help=f"{', '.join(SUITES)}; all when left out")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure; the median is shown")
    parser.add_argument("--output", choices=("table", "json", "markdown"), default="table")
    asked = parser.parse_args()
    if unknown := [name for name in asked.suites if name not in SUITES]:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if asked.runs < 1:
        parser.error("--runs: at least 1")
    spare_collections()
    found = uvloop.run(measure(asked.suites or list(SUITES), asked.runs))
    if asked.output == "json":
        document = {"machine": machine(), "figures": [figure.data() for figure in found]}
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif asked.output == "markdown":
        sys.stdout.write(f"{machine()}\n\n{markdown(found)}")
    else:
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(machine())
        console.print(table(found))


if __name__ == "__main__":
    main()
