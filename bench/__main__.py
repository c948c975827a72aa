"""``make bench``: every figure of DESIGN section 7 that there is, each beside its raw limit, in one run.

    python -m bench [SUITE ...] [--runs N] [--output table|json|markdown]

Starts embedded servers of its own in a temporary folder, unless FORGELOG_TEST_KAFKA and FORGELOG_TEST_POSTGRES name
some. The figures also go to `bench/results.json`, for programs. Machines are noisy: compare ratios, not figures of
different runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time

import orjson
import uvloop
from rich.console import Console

from bench import results
from bench.report import Figure, markdown, table
from bench.servers import machine, servers
from events.process.collector import spare_collections
from events.process.settings import Settings

SUITES = {
    "log": "bench.logs",
    "streams": "bench.streams",
    "points": "bench.points",
    "tracking": "bench.tracking",
    "curves": "bench.curves",
    "search": "bench.search",
    "mlflow": "bench.mlflow_door",
    "artifacts": "bench.artifacts",
    "scheduling": "bench.scheduling",
    "queries": "bench.gateway",
    "flow": "bench.flow",
    "idle": "bench.idle",
    "history": "bench.history",
    "asof": "bench.asof",
    "tuning": "bench.tuning",
    "serving": "bench.serving",
    "pipelines": "bench.pipelines",
    "tpch": "bench.tpch",
}
"""Name → module with ``async figures(settings, runs) -> list[Figure]``."""

LONG = frozenset(
    {"artifacts", "curves", "search", "history", "asof", "tuning", "mlflow", "serving", "pipelines", "tpch"}
)
"""Suites that take many minutes, or need others' software: measured only when they are named."""


async def measure(names: list[str], runs: int) -> dict[str, list[Figure]]:
    """The figures of these suites, each stored as soon as it is there."""
    figures: dict[str, list[Figure]] = {}
    console = Console(stderr=True)
    began = time.monotonic()
    async with servers() as given:
        for number, name in enumerate(names, 1):
            elapsed = f"{time.monotonic() - began:4.0f} s"
            console.print(f"{elapsed}: measuring {name} ({number} of {len(names)}), {runs} runs", highlight=False)
            run = f"bench{os.getpid()}{name}"
            settings = Settings(**given, prefix=f"{run}.", schema_=run)
            figures[name] = await importlib.import_module(SUITES[name]).figures(settings, runs)
            results.store("suites", {name: figures[name]})
            if console.is_terminal or len(names) > 1:
                for figure in figures[name]:
                    console.print(f"        {figure.line()}", highlight=False)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the platform.")
    shown = ", ".join(f"{name} (long)" if name in LONG else name for name in SUITES)
    parser.add_argument("suites", nargs="*", help=f"{shown}; all but the long ones when left out")
    parser.add_argument("--runs", type=int, default=5, help="runs of each figure; the median is shown")
    parser.add_argument("--output", choices=("table", "json", "markdown"), default="table")
    asked = parser.parse_args()
    if unknown := [name for name in asked.suites if name not in SUITES]:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if asked.runs < 1:
        parser.error("--runs: at least 1")
    spare_collections()
    names = asked.suites or [name for name in SUITES if name not in LONG]
    found = [figure for suite in uvloop.run(measure(names, asked.runs)).values() for figure in suite]
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
