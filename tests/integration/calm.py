"""One platform for all modules that leave its processes as they were, each with jobs of its own: the fixture `calm`."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import ClassVar

import httpx
import psutil

from events.language.contexts import processes
from events.language.resources import NodeRegistered
from tests.conftest import Servers, own_settings
from tests.integration.cluster import GATEWAY, Cluster, cluster

NODE = "n0"
READY_SECONDS = 30.0


class Calm:
    """Starts the platform for the first module that asks, and anew for one that would find it unwell."""

    running: ClassVar[list[Calm]] = []

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._starts = 0
        self._platform: Cluster | None = None
        self._stack = AsyncExitStack()

    async def platform(self) -> Cluster:
        """A platform that is well, with a gateway and one node."""
        if self._platform is not None:
            problem = await unwell(self._platform)
            if not problem:
                return self._platform
            warnings.warn(f"the platform that modules share is started anew: {problem}", stacklevel=2)
            try:
                await self.close()
            except Exception as error:  # noqa: BLE001  what ended its reader of events, say
                warnings.warn(f"the platform that was unwell ended with {error!r}", stacklevel=2)
        self._starts += 1
        folder = self._folder / str(self._starts)
        folder.mkdir()
        settings = await self._stack.enter_async_context(own_settings(self._servers, folder))
        platform = await self._stack.enter_async_context(cluster(settings, folder, gateway=True))
        await platform.event(NodeRegistered)
        self._platform = platform
        self.running.append(self)
        return platform

    async def close(self) -> None:
        if self in self.running:
            self.running.remove(self)
        self._platform = None
        await self._stack.aclose()


async def unwell(platform: Cluster) -> str:
    """What is wrong with a platform; "" if nothing is."""
    for name in (*processes(), GATEWAY, NODE):
        process = platform._processes.get(name)
        if process is None or process.poll() is not None:
            return f"{name} does not run"
        if platform.process(name).status() == psutil.STATUS_STOPPED:
            return f"{name} is stopped"
    if platform.watching is None or platform.watching.done():
        return "its events are read no more"
    problem = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_SECONDS), platform.http() as http:
            while problem := await unready(http):  # a module may have started a process again at its very end
                await asyncio.sleep(0.1)
    return problem


async def unready(http: httpx.AsyncClient) -> str:
    """Why a gateway takes no work; "" if it does."""
    try:
        answer = await http.get("/readyz")
    except httpx.HTTPError as error:
        return f"its gateway gives no answer ({error!r})"
    return "" if answer.status_code == 200 else f"it is not ready ({answer.text})"
