"""The companion of an Envoy: takes tables from a source, makes Envoy have them, keeps them, and lets requests wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import grpc.aio
from envoy.service.auth.v3 import external_auth_pb2_grpc
from envoy.service.discovery.v3 import ads_pb2_grpc

from events.language.deployments.routing import RoutingTable
from events.log.positions import Place, ReaderPosition
from events.process.channels import server_options
from events.process.settings import SettingsError
from events.process.tasks import end_all, run_together
from services.deployments.router.bootstrap import COMPANION_SOCKET
from services.deployments.router.certificate import outside_its_time, read_certificate
from services.deployments.router.config import Config, socket_path
from services.deployments.router.discovery import Discovery
from services.deployments.router.holding import Holding
from services.deployments.router.messages import Assembly
from services.deployments.router.resources import Options
from services.deployments.router.tables import Tables

log = logging.getLogger("forgelog.router")

CERTIFICATE_SECONDS = 10.0
"""How often the certificate's files are looked at."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a source has to say."""

    tables: tuple[RoutingTable, ...] = ()
    """New tables, in their order."""
    whole: bool = False
    """Whether these are all there are."""
    position: Mapping[Place, ReaderPosition] = field(default_factory=dict)
    """Up to where the log is known by it."""


class Source(Protocol):
    """Where tables come from."""

    def follow(self, known: Mapping[Place, ReaderPosition]) -> AsyncIterator[Change]:
        """Changes, without end. `known`: up to where the log was read by an earlier process; empty if it was not."""
        ...


class Companion:
    """Serves one Envoy."""

    def __init__(self, config: Config, version: str = "", replicas_key: bytes = b"") -> None:
        """`replicas_key`: see `Options`. Raises SettingsError for a certificate that can't be read."""
        self._config = config
        options = Options(
            host=config.host,
            port=config.port,
            hosts=config.hosts,
            certificate=read_certificate(config),
            hops=config.hops,
            routers=config.routers,
            version=version,
            traced=bool(config.collector),
            replicas_key=replicas_key,
        )
        self.tables = Tables(config.folder / "tables")
        self.discovery = Discovery()
        self.holding = Holding(self.tables, lambda deployment: self.demanded(deployment))
        self.demanded: Callable[[str], None] = lambda _deployment: None
        """Is told a deployment when a request of it begins to wait."""
        self._assembly = Assembly(options)
        self._changed = asyncio.Event()
        self._said: list[str] = []

    async def run(self, source: Source) -> None:
        """Serve Envoy by what is on disk, and by what the source says, until cancelled."""
        self.load()
        server = await self._serve()
        try:
            await run_together(self._publish(), self._follow(source), self._watch_certificate())
        finally:
            await server.stop(0)

    def load(self) -> None:
        """Take what is on disk."""
        self.tables.load()
        self._changed.set()

    async def _follow(self, source: Source) -> None:
        async for change in source.follow(self.tables.position):
            self.take(change)

    async def _serve(self) -> grpc.aio.Server:
        """The socket in the router's folder: what is not this user's can't get at it."""
        (self._config.folder / COMPANION_SOCKET).unlink(missing_ok=True)
        server = grpc.aio.server(options=server_options(most_received=4 << 20, most_sent=-1))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self.discovery, server)
        external_auth_pb2_grpc.add_AuthorizationServicer_to_server(self.holding, server)
        server.add_insecure_port(f"unix:{socket_path(self._config.folder, COMPANION_SOCKET)}")
        await server.start()
        return server

    async def _publish(self) -> None:
        """Let Envoy have what is known, each time that it has changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            tables = dict(self.tables.now)
            snapshot = self._assembly.snapshot(tables, self.tables.leaving)
            for problem in self._assembly.refused:
                if problem not in self._said:
                    log.warning("%s", problem)
            self._said = self._assembly.refused
            await self.discovery.publish(snapshot)
            if await self._taken():
                await self.holding.applied({name: table.number for name, table in tables.items()})

    async def _taken(self) -> bool:
        """Wait until Envoy has what was published; False if something newer is there before."""
        taken, changed = asyncio.create_task(self.discovery.taken()), asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((taken, changed), return_when=asyncio.FIRST_COMPLETED)
            return taken.done()
        finally:
            await end_all((taken, changed))

    async def _watch_certificate(self) -> None:
        """A certificate that was renewed is taken without a restart; one that can't be read is not. What is wrong is
        said once, and again when it has been right in between."""
        said = self._say_its_time("")
        while self._config.certificate is not None:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            try:
                now = await asyncio.to_thread(read_certificate, self._config)
            except SettingsError as error:
                if (problem := f"{error}; the certificate before stays") != said:
                    log.error("%s", problem)
                said = problem
                continue
            if now != self._assembly.options.certificate:
                self._assembly.options = replace(self._assembly.options, certificate=now)
                self._changed.set()
                log.info("the certificate was renewed")
            said = self._say_its_time(said)

    def _say_its_time(self, said: str) -> str:
        problem = outside_its_time(self._config, self._assembly.options.certificate)
        if problem and problem != said:
            log.warning("%s", problem)
        return problem

    def take(self, change: Change) -> None:
        """Keep what is new, on disk too, and let Envoy have it soon."""
        if change.whole:
            changed = self.tables.keep_only(change.tables)
        else:
            changed = sum(self.tables.put(table) for table in change.tables) > 0
        if change.position:
            self.tables.note(change.position)
        if changed:
            self._changed.set()

    def left(self, gone: Iterable[tuple[str, str]]) -> None:
        """Replicas (deployment, id) that were leaving have no requests any more."""
        for deployment, replica in gone:
            self.tables.left(deployment, replica)
            self._changed.set()
