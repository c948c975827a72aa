"""A broker and a database to measure on, and what machine this is."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from forgelog.embedded.kafka import Kafka
from forgelog.embedded.postgres import Postgres
from forgelog.embedded.process import Child, wait_ready


@asynccontextmanager
async def servers() -> AsyncIterator[dict[str, Any]]:
    """The settings that lead to a broker and a database, ended with the block if this started them."""
    kafka, postgres = os.environ.get("FORGELOG_TEST_KAFKA"), os.environ.get("FORGELOG_TEST_POSTGRES")
    if kafka and postgres:
        yield {"kafka": kafka, "postgres": postgres}
        return
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # what was started is ended then too
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    broker = Kafka(folder / "kafka", folder / "logs" / "kafka.log")
    database = Postgres(folder / "postgres", folder / "logs" / "postgres.log")
    children: list[Child] = []
    try:
        specs = await asyncio.gather(asyncio.to_thread(broker.prepare), asyncio.to_thread(database.prepare))
        children.extend(Child.start(spec) for spec in specs)
        await wait_ready(children[0], broker.ready, broker.ready_seconds)
        await wait_ready(children[1], database.ready, database.ready_seconds)
        access = broker.access
        yield {"kafka": access.kafka, "kafka_config": access.kafka_config, "postgres": database.address}
    finally:
        await asyncio.gather(*(child.stop() for child in children))
        shutil.rmtree(folder, ignore_errors=True)


def machine() -> str:
    """What this is measured on."""
    memory = psutil.virtual_memory().total / (1 << 30)
    model = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open() as info:
        model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), model)
    return f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GiB, Python {platform.python_version()}"


def tree(root: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants, those that are still there."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """What processes have used up to now, in user and kernel; those that are gone count nothing."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def resident(processes: list[psutil.Process]) -> float:
    """MiB of processes; what they share with others counted in proportion (PSS)."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return total / (1 << 20)
