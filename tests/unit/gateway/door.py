"""A gateway of a test's own, without servers behind it: it listens before Kafka is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from events.language.contexts import contexts
from events.process.keys import OWNER, key_path, read_key
from events.process.settings import Settings
from services.gateway.server import run


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


@dataclass
class Door:
    address: str
    key: str

    @property
    def credentials(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {self.key}"),)

    async def send(self, request: bytes) -> Answer:
        """What a request on a connection of its own is answered with."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), headers, body.decode())

    async def ask(self, path: str, method: str = "GET", *headers: tuple[str, str], body: bytes = b"") -> Answer:
        given = (("Host", self.address), *headers, ("Content-Length", str(len(body))), ("Connection", "close"))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given), "", ""]
        return await self.send("\r\n".join(lines).encode() + body)


@asynccontextmanager
async def door(folder: Path, **more: Any) -> AsyncIterator[Door]:
    nowhere = dict.fromkeys(contexts(), "127.0.0.1:1")
    given = {"kafka": "127.0.0.1:1", "gateway": "127.0.0.1:0", "data": folder, "services": nowhere, **more}
    settings = Settings(**given)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(settings, started=port.set_result))
    try:
        yield Door(f"127.0.0.1:{await asyncio.wait_for(port, 20)}", read_key(key_path(folder, OWNER)))
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
