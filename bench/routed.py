"""A platform of its own that serves digits: one replica behind one router, as anybody would start them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

from bench.servers import cpu_seconds, tree
from events.language.jobs import JobStarted
from events.process.keys import REPLICAS, key_path, read_key
from events.process.replica_keys import HEADER, replica_key
from events.process.settings import Settings
from forgelog import AsyncClient
from forgelog.embedded.ports import free_port
from tests.integration.cluster import Cluster, cluster
from tests.serving.processes import write_digits_model

NAME = "digits"
PATIENCE = 180.0
ROUTER = "router"


@dataclass
class Routed:
    """Where it answers, and which processes serve it."""

    router: int
    """The router's port."""
    replica: int
    """The replica's own port."""
    headers: dict[str, str]
    """What the replica wants of one that asks it directly."""
    parts: dict[str, list[psutil.Process]]
    """Name → its processes."""

    @property
    def router_path(self) -> str:
        return f"/serve/local/default/{NAME}/v2/models/{NAME}/infer"

    def cpu_seconds(self) -> dict[str, float]:
        """What each part has used up to now."""
        return {name: cpu_seconds(processes) for name, processes in self.parts.items()}


@asynccontextmanager
async def routed(settings: Settings, folder: Path) -> AsyncIterator[Routed]:
    """It serves until the block ends."""
    (folder / "platform").mkdir()
    write_digits_model(folder / "model")
    router = free_port()
    async with (
        cluster(settings, folder / "platform", gateway=True) as platform,
        AsyncClient(platform.gateway, token=platform.key) as client,
    ):
        await client.models.register(NAME)
        await client.models.create_version(NAME, folder=folder / "model", model_format="onnx")
        resources = {"cpus": 1, "memory_bytes": 300 << 20}
        given = {"model": {"name": NAME}, "resources": resources, "routing": {"concurrency": 1_000}}
        deployment = await client.deployments.create(NAME, given)
        told = platform._told("deployments") | {
            "FORGELOG_LISTEN": "127.0.0.1:0",
            "FORGELOG_ROUTER_LISTEN": f"127.0.0.1:{router}",
            "FORGELOG_ROUTER_FOLDER": str(folder / ROUTER),
            "FORGELOG_ROUTER_NAME": ROUTER,
        }
        platform._run(ROUTER, "services.deployments.router", told)
        try:
            await client.deployments.wait(NAME, timeout=PATIENCE)
            table = (await client.deployments.routing(NAME))["routing"]
            replica = table["revisions"][0]["replicas"][0]
            await _answers(router)
            secret = read_key(key_path(platform.folder, REPLICAS)).encode()
            yield Routed(
                router,
                replica["ports"]["http"],
                {HEADER: replica_key(secret, deployment)},
                _parts(platform, _envoy(folder)),
            )
        finally:
            with suppress(OSError, psutil.NoSuchProcess):  # it ended with its router
                envoy = _envoy(folder)
                await asyncio.to_thread(platform.end, ROUTER)
                envoy.kill()


def _envoy(folder: Path) -> psutil.Process:
    return psutil.Process(orjson.loads((folder / ROUTER / "envoy.json").read_bytes())["pid"])


def _parts(platform: Cluster, envoy: psutil.Process) -> dict[str, list[psutil.Process]]:
    """Who does what for a request: Envoy, the process beside it, the replica, and all others of the platform."""
    started = [record.data for record in platform.seen if isinstance(record.data, JobStarted)]
    replica = tree(psutil.Process(started[-1].tasks[0].pid))
    companion = platform.process(ROUTER)
    known = {envoy.pid, companion.pid, *(process.pid for process in replica)}
    every = [each for process in platform.processes() for each in tree(process)]
    servers = [
        each
        for child in psutil.Process().children()
        if child.name().startswith(("java", "postgres"))
        for each in tree(child)
    ]
    others = [each for each in (*every, *servers) if each.pid not in known]
    return {"Envoy": [envoy], "companion": [companion], "replica": replica, "others": others}


async def _answers(port: int) -> None:
    """Wait until the router has the deployment."""
    path = f"/serve/local/default/{NAME}/v2/health/ready"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request.encode())
                answer = await reader.read()
                writer.close()
                if answer.startswith(b"HTTP/1.1 200"):
                    return
            await asyncio.sleep(0.1)
