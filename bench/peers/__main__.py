"""``make bench-peers``: what others do of the same work, beside ours of the same run.

    python -m bench.peers [PEER ...] [--count N]

Each peer runs alone on the machine, with its defaults (Slurm: set up for short jobs), in an environment of its own
(`build/peers`, made by `make`). What can't be measured here is named with the reason. The figures also go to
`bench/results.json`, under ``peers``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvloop
from rich.console import Console
from rich.table import Table

from bench import flow, logs, results
from bench.peers import slurm
from bench.peers.environment import PYTHON, Unavailable, require, told
from bench.report import Figure, number
from bench.servers import machine, servers
from events.process.collector import spare_collections
from events.process.settings import Settings
from forgelog.embedded.passfile import password_in

WORK = {
    "start_ms": ("submit → process started, p50", "ms", "submit → process started, p50", False),
    "jobs_per_s": ("real processes (`true`)", "jobs/s", "real-process jobs/s, one array", True),
    "appended_per_s": ("durable appended events, decide included", "events/s", "durable appended events", True),
    "replayed_per_s": ("replay: events decoded (ours folded too)", "events/s", "replay", True),
}
"""What peers print → what it is, its unit, how our figure of the same work begins, whether more is better."""

PEERS = ("Ray", "Dask", "eventsourcing", "Slurm")


def _script(name: str, count: int, environment: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    require()
    return told(PYTHON, name, count, environment)


def _postgres(dsn: str) -> dict[str, str]:
    parts = urlsplit(dsn)
    named = parse_qs(parts.query).get("passfile")
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.lstrip("/"),
        "POSTGRES_HOST": parts.hostname or "127.0.0.1",
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": password_in(Path(named[0])) if named else parts.password or "",
    }


def _slurm(count: int) -> dict[str, Any]:
    try:
        return slurm.measure(count)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


async def measure(names: list[str], count: int, runs: int, say: Callable[[str], None]) -> dict[str, list[Figure]]:
    """Ours, then each peer's."""
    found: dict[str, list[Figure]] = {}
    async with servers() as given:
        ours: list[Figure] = []
        for module in (flow, logs):
            say(f"Forgelog: {module.__name__}")
            run = f"peers{os.getpid()}{module.__name__.rpartition('.')[2]}"
            settings = Settings(**given, prefix=f"{run}.", schema_=run)
            ours += await module.figures(settings, runs)
        found["Forgelog"] = [
            Figure(what, unit, figure.runs, higher_is_better=better)
            for what, unit, begins, better in WORK.values()
            for figure in ours[:]
            if figure.name.startswith(begins)
        ]
        peers: dict[str, Callable[[], dict[str, Any]]] = {
            "Ray": lambda: _script("ray", count),
            "Dask": lambda: _script("dask", count),
            "eventsourcing": lambda: _script("eventsourcing", count, _postgres(given["postgres"])),
            "Slurm": lambda: _slurm(min(count, 500)),
        }
        for name in names:
            answers: list[dict[str, Any]] = []
            try:
                for turn in range(runs):
                    say(f"{name}: run {turn + 1} of {runs}")
                    answers.append(await asyncio.to_thread(peers[name]))
            except Unavailable as error:
                say(f"{name} can't be measured here: {error}")
                if not answers:
                    continue
            found[f"{name} {answers[0]['version']}"] = [
                Figure(what, unit, [each[key] for each in answers], higher_is_better=better)
                for key, (what, unit, _, better) in WORK.items()
                if key in answers[0]
            ]
    return found


def table(found: dict[str, list[Figure]]) -> Table:
    """All beside each other: a row for each kind of work."""
    shown = Table(title="The same work on the same machine (medians)")
    shown.add_column("what")
    shown.add_column("unit")
    for name in found:
        shown.add_column(name, justify="right")
    for what, unit, _, _ in WORK.values():
        values = [next((each.value for each in figures if each.name == what), None) for figures in found.values()]
        shown.add_row(what, unit, *map(number, values))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Measure others at the same work.")
    parser.add_argument("peers", nargs="*", help=f"{', '.join(PEERS)}; all when left out")
    parser.add_argument("--count", type=int, default=1_000, help="processes, and aggregates, of each run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median is shown")
    asked = parser.parse_args()
    if unknown := [name for name in asked.peers if name not in PEERS]:
        parser.error(f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if asked.runs < 1 or asked.count < 10:
        parser.error("--runs: at least 1; --count: at least 10")
    spare_collections()
    progress = Console(stderr=True)

    def say(text: str) -> None:
        progress.print(text, highlight=False, soft_wrap=True)

    found = uvloop.run(measure(asked.peers or list(PEERS), asked.count, asked.runs, say))
    results.store("peers", found)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(machine())
    console.print(table(found))


if __name__ == "__main__":
    main()
