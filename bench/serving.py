"""Inference: one replica behind a router and asked directly, beside onnxruntime, BentoML and Ray Serve.

The others are there where `make serving-peers` could install them. Each serves the same model of digits in ONNX and is
asked for one image a request, as JSON over kept connections, in turns with ours. Clients, servers and the platform,
with its broker and its database, share the machine.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench import serving_peers
from bench.report import Figure
from bench.routed import NAME, Routed, routed
from events.process.settings import Settings
from forgelog.embedded.ports import free_port
from tests.serving.processes import digits

CONNECTIONS = 16
SECONDS = 4.0
PATIENCE = 180.0

GOAL = 2_500
"""Requests a second through a router."""

BLOCKS, BLOCK_SECONDS = 8, 1.0
"""Of each run at half load, for the router and without it."""

HALVES = {"goal": f"{GOAL / 2:,.0f} requests/s (half of the goal)", "most": "half of what it bears"}
"""What half load is: of what a router has to bear, and of what it bears here, which is a multiple of that."""


def _request(path: str, body: Any, more: Mapping[str, str] = MappingProxyType({})) -> bytes:
    text = json.dumps(body).encode()
    headers = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(text)), **more}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + text


def _ran(module: str, *arguments: object, given: bytes) -> Any:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr[-500:].decode(errors='replace')}")
    return json.loads(done.stdout)


async def load(port: int, request: bytes, connections: int = CONNECTIONS) -> Mapping[str, float]:
    """What came of sending it again and again. Raises RuntimeError if an answer was not 200."""
    found: dict[str, float] = await asyncio.to_thread(
        _ran, "bench.http_load", "127.0.0.1", port, connections, SECONDS, given=request
    )
    if found["failed"]:
        raise RuntimeError(f"{found['failed']:.0f} requests at port {port} failed")
    return found


async def paced(rate: float, *targets: tuple[int, bytes]) -> list[dict[str, float]]:
    """What came of requests at that rate, for each target. Raises RuntimeError if an answer was not 200."""
    what = {
        "targets": [{"port": port, "request": request.decode("latin-1")} for port, request in targets],
        "rate": rate,
        "blocks": BLOCKS,
        "block_seconds": BLOCK_SECONDS,
        "connections": 4 * CONNECTIONS,
    }
    found: list[dict[str, float]] = await asyncio.to_thread(_ran, "bench.paced_load", given=json.dumps(what).encode())
    for (port, _), one in zip(targets, found, strict=True):
        if one["failed"]:
            raise RuntimeError(f"{one['failed']:.0f} requests at port {port} failed")
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


class Ours:
    """Our two doors to one image: a router's, and the replica's own."""

    def __init__(self, served: Routed, image: Any) -> None:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": image.reshape(-1).tolist()}]}
        body["outputs"] = [{"name": "label"}]
        self.router = served.router, _request(served.router_path, body)
        self.replica = served.replica, _request(f"/v2/models/{NAME}/infer", body, served.headers)
        self._served = served
        self.bare: list[float] = []
        self.direct: list[float] = []
        self.through: list[float] = []
        self.single: list[float] = []
        self.cpu: dict[str, list[float]] = {}
        self.added: dict[tuple[str, str], list[float]] = {
            (half, name): [] for half in HALVES for name in ("p50", "p99")
        }
        self.alone: dict[tuple[str, str], list[float]] = {each: [] for each in self.added}

    async def measure(self, model: Path, image: Any) -> None:
        """One run of everything."""
        self.bare.append(await asyncio.to_thread(_bare, model, image))
        self.direct.append((await load(*self.replica))["rate"])
        self.single.append((await load(*self.replica, connections=1))["p50"])
        before = self._served.cpu_seconds()
        rate = (await load(*self.router))["rate"]
        for name, seconds in self._served.cpu_seconds().items():
            self.cpu.setdefault(name, []).append((seconds - before[name]) / (rate * SECONDS) * 1e6)
        self.through.append(rate)
        for half, load_of in (("goal", GOAL), ("most", rate)):
            direct, through = await paced(load_of / 2, self.replica, self.router)
            for name in ("p50", "p99"):
                self.alone[half, name].append(direct[name])
                self.added[half, name].append(through[name] - direct[name])

    def figures(self) -> list[Figure]:
        milliseconds = [1000 / each for each in self.bare]
        serving = [
            sum(each) for each in zip(self.cpu["Envoy"], self.cpu["companion"], self.cpu["replica"], strict=True)
        ]
        return [
            Figure(
                f"inference, through a router and one replica, {CONNECTIONS} connections",
                "requests/s",
                self.through,
                self.direct,
                "the replica asked directly",
                target=GOAL,
            ),
            Figure(
                f"inference, one replica asked directly, {CONNECTIONS} connections",
                "requests/s",
                self.direct,
                self.bare,
                "calls of onnxruntime in a loop",
            ),
            Figure(
                "inference, one replica asked directly, one connection, p50",
                "ms",
                self.single,
                milliseconds,
                "a call of onnxruntime",
                higher_is_better=False,
            ),
            Figure(
                "inference, CPU time of router and replica for a request",
                "us",
                serving,
                [1000 * each for each in milliseconds],
                "a call of onnxruntime",
                higher_is_better=False,
                parts={name: statistics.median(each) for name, each in self.cpu.items()},
            ),
            *(
                Figure(
                    f"inference at {HALVES[half]}, what the router adds, {name}",
                    "ms",
                    added,
                    target={"p50": 1, "p99": 3}[name],
                    higher_is_better=False,
                    parts={"the replica asked directly": statistics.median(self.alone[half, name])},
                )
                for (half, name), added in self.added.items()
            ),
        ]


async def _beside(ours: Ours, model: Path, image: list[list[float]], runs: int) -> list[Figure]:
    """Each peer, in turns with ours."""
    found = []
    for peer in serving_peers.PEERS:
        port = free_port()
        try:
            async with serving_peers.serving(peer, model, port):
                request = _request("/infer", {"x": image})
                await load(port, request)
                theirs, through, direct = [], [], []
                for _ in range(runs):
                    theirs.append((await load(port, request))["rate"])
                    through.append((await load(*ours.router))["rate"])
                    direct.append((await load(*ours.replica))["rate"])
        except (serving_peers.Unavailable, RuntimeError) as problem:
            print(f"{peer} is not measured: {problem}", file=sys.stderr)
            continue
        named = f"{peer} {serving_peers.version(peer)}"
        target = 3 * statistics.median(theirs)
        found += [
            Figure(f"inference by {named}, one replica, {CONNECTIONS} connections", "requests/s", theirs),
            Figure(f"inference through a router, in turns with {peer}", "requests/s", through, theirs, named, target),
            Figure(f"inference, asked directly, in turns with {peer}", "requests/s", direct, theirs, named, target),
        ]
    return found


async def figures(settings: Settings, runs: int) -> list[Figure]:
    """Rates and times, `runs` times each."""
    image = digits()[0][:1]
    with tempfile.TemporaryDirectory(prefix="flb-") as folder:  # short, for Envoy's sockets
        async with routed(settings, Path(folder)) as served:
            model = Path(folder) / "model" / "model.onnx"
            ours = Ours(served, image)
            await load(*ours.replica)
            await load(*ours.router)
            for _ in range(runs):
                await ours.measure(model, image)
            return [*ours.figures(), *await _beside(ours, model, image.tolist(), runs)]
