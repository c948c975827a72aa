"""MLflow's own tracking server, with its SQL store, started for a measurement: on sqlite, or on a Postgres."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from bench.peers import environment
from bench.peers.environment import PYTHON, Unavailable
from forgelog.embedded.ports import free_port

_PATIENCE = 180.0
"""Seconds for its start: it makes its tables."""


def version() -> str:
    """The version that is there. Raises Unavailable."""
    return environment.version("mlflow")


@asynccontextmanager
async def server(store: str, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Its ``host:port`` and its process; as it is by default, but that it tells nobody of its use, and has none of the
    processes for jobs of its own, which would take CPU. `store`: the address of its SQL store. Raises Unavailable."""
    version()
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.to_thread(_start, store, address, folder)
    try:
        if not await _ready(process, address):
            problem = await asyncio.to_thread((folder / "log").read_text, errors="replace")
            raise Unavailable(f"it did not start: {problem.strip()[-400:]}")
        yield address, process.pid
    finally:
        await asyncio.to_thread(_end, process)


def _start(store: str, address: str, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True)
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "MLFLOW"))}
    own |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    own["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    command = [
        str(PYTHON), "-m", "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1",
        "--port", address.rpartition(":")[2], "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(command, env=own, cwd=folder, stdout=log, stderr=log, start_new_session=True)


async def _ready(process: subprocess.Popen[bytes], address: str) -> bool:
    until = time.monotonic() + _PATIENCE
    async with httpx.AsyncClient() as client:
        while process.poll() is None and time.monotonic() < until:
            with suppress(httpx.HTTPError):
                if (await client.get(f"http://{address}/health")).status_code == httpx.codes.OK:
                    return True
            await asyncio.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and its workers."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
