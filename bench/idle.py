"""The whole embedded platform as `forgelog up` starts it: memory and idle CPU of everything, the servers included; with
Forgelog's own contexts, and with nine: six small ones besides, in one process."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import psutil

from bench.report import Figure
from bench.servers import cpu_seconds, resident, tree
from events.process.settings import Settings
from forgelog import AsyncClient
from forgelog.embedded.platform import Choice, Options, Platform
from tests.copies import write_copies

JOBS = 500
"""Jobs that run before, so that memory is that of a platform which has worked."""
SETTLE_SECONDS = 15.0
WINDOW_SECONDS = 10.0
"""Of one run; all runs together are the measured time."""


def _roots(platform: Platform) -> dict[str, psutil.Process]:
    """The supervisor and what it started, by name."""
    found = {child["name"]: child["pid"] for child in platform.report()["children"] if child["pid"]}
    return {name: psutil.Process(pid) for name, pid in found.items()}


def _parts(platform: Platform) -> dict[str, list[psutil.Process]]:
    """Each part's own processes: children live in sessions of their own, so the supervisor's tree may hold them all."""
    roots = _roots(platform)
    pids = {process.pid for process in roots.values()}
    parts: dict[str, list[psutil.Process]] = {}
    for name, root in roots.items():
        others = {each.pid for pid in pids - {root.pid} for each in tree(psutil.Process(pid)) if name == "supervisor"}
        parts[name] = [each for each in tree(root) if each.pid not in others]
    return parts


async def _work(address: str, key: str) -> None:
    """Run jobs to their ends."""
    async with AsyncClient(address, token=key) as client:
        jobs = await client.jobs.submit_many(
            [{"metadata": {"name": "bench"}, "command": "true", "resources": {"cpus": 0.01}} for _ in range(JOBS)]
        )
        await client.jobs.wait([job.id for job in jobs], timeout=300)


ADDED = tuple(f"small{number}" for number in range(1, 7))
"""Contexts of `tests.copies`."""


async def figures(_: Settings, runs: int) -> list[Figure]:
    """Memory once, CPU in `runs` windows one after the other; on platforms and servers of their own."""
    return [*await _figures("whole platform", (), runs), *await _figures("with nine contexts", ADDED, runs)]


async def _figures(what: str, added: Sequence[str], runs: int) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    own = {name: value for name, value in os.environ.items() if not name.startswith("FORGELOG_")}
    told = write_copies(folder / "copies", added) if added else {}
    with patch.dict(os.environ, own | told, clear=True):
        platform = Platform(folder / "data")
        try:
            await platform.up(Options(servers=Choice.EMBEDDED))
            state = await platform.wait()
            await _work(state.gateway, platform.key)
            await asyncio.sleep(SETTLE_SECONDS)
            parts = _parts(platform)
            memory = {name: resident(processes) for name, processes in parts.items()}
            every = [process for processes in parts.values() for process in processes]
            before = {name: cpu_seconds(processes) for name, processes in parts.items()}
            shares, began = [], time.perf_counter()
            for _ in range(runs):
                since, used = time.perf_counter(), cpu_seconds(every)
                await asyncio.sleep(WINDOW_SECONDS)
                shares.append(100 * (cpu_seconds(every) - used) / (time.perf_counter() - since))
            seconds = time.perf_counter() - began
            cpu = {name: 100 * (cpu_seconds(parts[name]) - used) / seconds for name, used in before.items()}
        finally:
            await platform.down()
            shutil.rmtree(folder, ignore_errors=True)
    return [
        Figure(
            f"{what}, broker and Postgres included, resident (PSS)",
            "MiB",
            [sum(memory.values())],
            target=1024,
            higher_is_better=False,
            parts=memory,
        ),
        Figure(f"{what}, idle", "% of a core", shares, target=5, higher_is_better=False, parts=cpu),
    ]
