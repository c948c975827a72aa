"""A router with a real Envoy, fed with tables by the test, before small upstreams of the test's own."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from events.language.deployments.routing import RoutingTable
from events.log.positions import Place, ReaderPosition
from events.process.hostnames import LOOPBACK
from services.deployments.router.companion import Change, Companion
from services.deployments.router.config import Config
from services.deployments.router.envoy import Envoy

PROJECT = "local/default"
SECRET = b"what the keys of replicas follow from"
SAFETY_SECONDS = 60.0
"""Nothing here takes so long; a machine that is too busy may."""

_SERVER = """
import asyncio, sys
async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\\r\\n\\r\\n")
            writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass
class Upstream:
    """A replica of the test's: it answers every request with what it got, and its own name."""

    name: str
    port: int = 0
    delay: float = 0.0
    gate: asyncio.Event | None = None
    """Requests wait for it."""
    got: list[dict[str, Any]] = field(default_factory=list)
    in_flight: int = 0
    most: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                if headers.get("upgrade") == "websocket":
                    return await self._echo(reader, writer)
                body = await self._body(reader, headers)
                self.in_flight += 1
                self.most = max(self.most, self.in_flight)
                request = {"line": head[0], "headers": headers, "body": len(body), "name": self.name}
                self.got.append(request)
                if self.gate is not None:
                    await self.gate.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                answer = orjson.dumps(request)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: own=1\r\n"
                    b"content-length: %d\r\n\r\n%b" % (len(answer), answer)
                )
                await writer.drain()
                self.in_flight -= 1

    @staticmethod
    async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body

    @staticmethod
    async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        while (data := await reader.read(1000)) not in (b"", b"bye"):
            writer.write(data)
            await writer.drain()
        writer.close()


class Rig:
    """One router. `put` gives it a table and returns when Envoy has it."""

    def __init__(self, folder: Path, port: int, config: Config | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = config or Config(
            "rig", folder, "127.0.0.1", port, hosts=(*LOOPBACK, "a"), threads=1, drain_seconds=1
        )
        self._verify: ssl.SSLContext | bool = True
        self.demanded: Counter[str] = Counter()
        self.companion = Companion(self.config, replicas_key=SECRET)
        self.companion.demanded = lambda name: self.demanded.update([name])
        self.envoy = Envoy(self.config)
        self._changes: asyncio.Queue[Change] = asyncio.Queue()
        self._numbers = count(1)
        self._names = count(1)

    async def follow(self, known: Mapping[Place, ReaderPosition]) -> AsyncIterator[Change]:
        """The test is the source."""
        while True:
            yield await self._changes.get()

    @asynccontextmanager
    async def running(self, verify: ssl.SSLContext | bool = True) -> AsyncIterator[Rig]:
        self._verify = verify
        tasks = [asyncio.create_task(self.companion.run(self)), asyncio.create_task(self.envoy.run())]
        try:
            await until(lambda: self.answers("/v2/health/live"))
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.envoy.stop()

    async def answers(self, path: str) -> bool:
        async with self.client() as client:
            try:
                return (await client.get(path)).status_code == 200
            except httpx.TransportError:
                return False

    def client(self, **given: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=SAFETY_SECONDS, verify=self._verify, **given)

    @property
    def url(self) -> str:
        return (
            f"https://localhost:{self.config.port}"
            if self.config.certificate
            else f"http://127.0.0.1:{self.config.port}"
        )

    def table(self, *revisions: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """A table of a deployment of its own; `put` gives it its number."""
        name = changes.pop("name", f"d{next(self._names)}")
        return {
            "deployment_id": f"{name}.abc234",
            "project": PROJECT,
            "name": name,
            "created_at": "2026-11-27T12:00:00Z",
            "revisions": list(revisions),
            "endpoints": [{"name": "rest", "type": "rest", "idempotent": True}],
            **changes,
        }

    def give(self, table: Mapping[str, Any]) -> RoutingTable:
        """Let the router have it some time."""
        given = RoutingTable.model_validate({"number": next(self._numbers), **table})
        self._changes.put_nowait(Change((given,)))
        return given

    async def put(self, table: Mapping[str, Any]) -> RoutingTable:
        given = self.give(table)
        applied = self.companion.holding.has
        await until(lambda: applied(given.deployment_id, given.number))
        assert self.companion.discovery.refusals == {}
        return given


def revision(number: int, weight: int, *upstreams: Upstream | int, **changes: Any) -> dict[str, Any]:
    """A revision whose replicas are these (ports, or what listens there)."""
    ports = [upstream if isinstance(upstream, int) else upstream.port for upstream in upstreams]
    replicas = [
        {"replica_id": f"r{number}-{port}", "address": "127.0.0.1", "ports": {"http": port, "grpc": port}}
        for port in ports
    ]
    return {"revision": number, "weight": weight, "model": "digits", "version": number, "replicas": replicas, **changes}


@asynccontextmanager
async def upstreams(*names: str) -> AsyncIterator[list[Upstream]]:
    """Replicas that listen, in this process."""
    found, servers = [], []
    for name in names:
        upstream = Upstream(name)
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        upstream.port = server.sockets[0].getsockname()[1]
        found.append(upstream)
        servers.append(server)
    try:
        yield found
    finally:
        for server in servers:
            server.close()


@asynccontextmanager
async def process() -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A replica that is a process of its own, and its port."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", _SERVER, stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]}
    )
    assert started.stdout is not None
    try:
        yield started, int(await started.stdout.readline())
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def until(done: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(SAFETY_SECONDS):
        while True:
            found = done()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


async def raw(port: int, data: bytes) -> bytes:
    """What comes for these bytes, until the other side closes or has nothing more to say for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(SAFETY_SECONDS):
            return await reader.read()
    finally:
        writer.close()


class Issuer:
    """Signs endpoint keys."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def public(self) -> dict[str, Any]:
        key = self._key.public_key().public_bytes_raw()
        return {"issuer": "https://forgelog.test", "public_keys": [{"key_id": "k1", "x": _base64(key)}]}

    def token(self, **claims: Any) -> str:
        head = _base64(orjson.dumps({"alg": "EdDSA", "typ": "JWT", "kid": "k1"}))
        body = _base64(orjson.dumps({"iss": "https://forgelog.test", "exp": 4_000_000_000, **claims}))
        return f"{head}.{body}.{_base64(self._key.sign(f'{head}.{body}'.encode()))}"


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
