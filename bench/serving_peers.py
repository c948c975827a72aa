"""Servers of models by others, each started with digits in ONNX until its block ends: see `make serving-peers`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import distributions
from pathlib import Path

ENVIRONMENT = Path(__file__).parents[1] / "build" / "peers" / "serving"
SCRIPTS = Path(__file__).parent / "peers"
PATIENCE = 240.0
"""Seconds: Ray Serve starts a dozen processes, each of which imports much."""

PEERS = {
    "BentoML": ("bentoml", ("bin/bentoml", "serve", "bento_peer:Digits", "--port")),
    "Ray Serve": ("ray", ("bin/python", "serve_peer.py")),
}
"""Name → its package, and its program, which takes a port."""


class Unavailable(Exception):
    """A peer can't be measured here; the text says why."""


def version(peer: str) -> str:
    """Of a peer that is installed. Raises Unavailable."""
    for packages in ENVIRONMENT.glob("lib/python*/site-packages"):
        for found in distributions(name=PEERS[peer][0], path=[str(packages)]):
            return found.version
    raise Unavailable("`make serving-peers` could not install it")


@asynccontextmanager
async def serving(peer: str, model: Path, port: int) -> AsyncIterator[None]:
    """It answers at the port. Raises Unavailable."""
    version(peer)
    program, *arguments = PEERS[peer][1]
    told = {**os.environ, "MODEL": str(model), "BENTOML_DO_NOT_TRACK": "True"}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: ASYNC220 - a fork takes a millisecond
            [str(ENVIRONMENT / program), *arguments, str(port)],
            cwd=SCRIPTS,
            env=told,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + PATIENCE
            while not await asyncio.to_thread(_answers, port):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    words = said.read()[-1500:].decode(errors="replace")
                    why = f"ended with {process.returncode}" if process.poll() is not None else f"{PATIENCE:g} s"
                    raise Unavailable(f"it does not serve ({why}): {words}")
                await asyncio.sleep(0.2)
            yield
        finally:
            await asyncio.to_thread(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()  # Ray's script ends its cluster then
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    request = b"GET /infer HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as asked:
            asked.sendall(request)
            status = asked.recv(64).split(b" ")
            return len(status) > 1 and status[1] not in (b"404", b"503")
    except OSError:
        return False
