"""Inference: requests a second of one replica, asked directly and through a router, beside onnxruntime and others.

The others are BentoML and Ray Serve, where `make serving-peers` could install them. Each serves the same model of
digits in ONNX and is asked for one image a request, as JSON over kept connections. Clients and servers share the
machine, so the CPU time that a request costs is told too: it says the most that a core could do.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import psutil

from bench.report import Figure
from events.process.settings import Settings
from forgelog.embedded.ports import free_port
from tests.integration.router.rig import Rig, revision
from tests.serving.processes import digits, model_server, write_digits_model

CONNECTIONS = 16
SECONDS = 4.0
PATIENCE = 180.0

PEERS = Path(__file__).parents[1] / "build" / "peers" / "serving" / "bin"


def _request(path: str, body: Any, more: Mapping[str, str] = MappingProxyType({})) -> bytes:
    text = json.dumps(body).encode()
    headers = {"Host": "bench", "Content-Type": "application/json", "Content-Length": str(len(text)), **more}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + text


def load(port: int, request: bytes, connections: int) -> Mapping[str, float]:
    """What came of sending it again and again. Raises RuntimeError if an answer was not 200."""
    command = [sys.executable, "-m", "bench.http_load", "127.0.0.1", str(port), str(connections), str(SECONDS)]
    done = subprocess.run(command, input=request, capture_output=True, timeout=PATIENCE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    if found["failed"]:
        raise RuntimeError(f"{found['failed']:.0f} requests at port {port} failed")
    return found


def _bare(path: Path, image: Any) -> float:
    """Calls a second of a session in a loop."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS / 2:
        session.run(None, {"x": image})
        count += 1
    return count / (time.perf_counter() - began)


@contextmanager
def _peer(command: list[str], model: Path, port: int) -> Iterator[None]:
    """A peer's server that answers."""
    environment = {**os.environ, "MODEL": str(model), "BENTOML_DO_NOT_TRACK": "True"}
    folder = Path(__file__).parent / "peers"
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + PATIENCE
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    raise RuntimeError(f"{command[0]} does not serve: {said.read()[-500:].decode(errors='replace')}")
                time.sleep(0.2)
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
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


def _peers(model: Path, image: list[list[float]], runs: int) -> Iterator[Figure]:
    commands = {
        "BentoML": lambda port: [str(PEERS / "bentoml"), "serve", "bento_peer:Digits", "--port", str(port)],
        "Ray Serve": lambda port: [str(PEERS / "python"), "serve_peer.py", str(port)],
    }
    for name, command in commands.items():
        port = free_port()
        if not Path(command(port)[0]).exists():
            print(f"{name} is not measured: `make serving-peers` could not install it", file=sys.stderr)
            continue
        try:
            with _peer(command(port), model, port):
                request = _request("/infer", {"x": image})
                load(port, request, CONNECTIONS)
                rates = [load(port, request, CONNECTIONS)["rate"] for _ in range(runs)]
        except (RuntimeError, subprocess.SubprocessError) as problem:
            print(f"{name} is not measured: {problem}", file=sys.stderr)
            continue
        yield Figure(f"inference by {name}, one replica, {CONNECTIONS} connections", "requests/s", rates)


def _cpu_seconds(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def _cpu_micros(port: int, request: bytes, pid: int) -> float:
    """CPU time of a process for a request, in microseconds."""
    before = _cpu_seconds(pid)
    rate = load(port, request, CONNECTIONS)["rate"]
    return (_cpu_seconds(pid) - before) / (rate * SECONDS) * 1e6


async def _through_a_router(replica: int, body: Any, runs: int) -> tuple[list[float], list[float], list[float]]:
    """Requests a second, and milliseconds of a request alone: through the router, and without it."""
    rates, through, direct = [], [], []
    with tempfile.TemporaryDirectory(prefix="router-") as folder:
        async with Rig(Path(folder) / "router", free_port()).running() as router:
            table = router.table(revision(1, 10_000, replica))
            await router.put({**table, "concurrency": 1_000})
            request = _request(f"/serve/local/default/{table['name']}/v2/models/digits/infer", body)
            alone = _request("/v2/models/digits/infer", body)
            port = router.config.port
            for _ in range(runs):
                rates.append((await asyncio.to_thread(load, port, request, CONNECTIONS))["rate"])
                through.append((await asyncio.to_thread(load, port, request, 1))["p50"])
                direct.append((await asyncio.to_thread(load, replica, alone, 1))["p50"])
    return rates, through, direct


def _figures(runs: int) -> list[Figure]:
    pixels, _ = digits()
    image = pixels[:1]
    with tempfile.TemporaryDirectory(prefix="forgelog-bench-") as folder:
        model = Path(folder) / "digits"
        write_digits_model(model)
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": image.reshape(-1).tolist()}]}
        body["outputs"] = [{"name": "label"}]
        request = _request("/v2/models/digits/infer", body)
        rates, bare, single, cpu = [], [], [], []
        with model_server(model) as server:
            load(server.http, request, CONNECTIONS)
            for _ in range(runs):
                bare.append(_bare(model / "model.onnx", image))
                rates.append(load(server.http, request, CONNECTIONS)["rate"])
                cpu.append(_cpu_micros(server.http, request, server.process.pid))
                single.append(load(server.http, request, 1)["p50"])
            routed, through, direct = asyncio.run(_through_a_router(server.http, body, runs))
        milliseconds = [1000 / each for each in bare]
        return [
            Figure(
                f"inference, one replica asked directly, {CONNECTIONS} connections",
                "requests/s",
                rates,
                bare,
                "calls of onnxruntime in a loop",
                target=2_500,
            ),
            Figure(
                "inference, CPU time of the replica for a request",
                "us",
                cpu,
                [1000 * each for each in milliseconds],
                "a call of onnxruntime",
                higher_is_better=False,
            ),
            Figure(
                "inference, one replica asked directly, one connection, p50",
                "ms",
                single,
                milliseconds,
                "a call of onnxruntime",
                higher_is_better=False,
            ),
            Figure(
                f"inference, through a router and one replica, {CONNECTIONS} connections",
                "requests/s",
                routed,
                rates,
                "the replica asked directly",
                target=2_500,
            ),
            Figure(
                "inference, through a router, one connection, p50",
                "ms",
                through,
                direct,
                "the replica asked directly",
                target=1 + sorted(direct)[len(direct) // 2],
                higher_is_better=False,
            ),
            *_peers(model / "model.onnx", np.asarray(image, float).tolist(), runs),
        ]


async def figures(_settings: Settings, runs: int) -> list[Figure]:
    """Rates and times, `runs` times each. Needs no platform."""
    return await asyncio.to_thread(_figures, runs)
