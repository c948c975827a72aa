"""A process of services: one gRPC server, and what works for one context or for several (`events.hosting`).

`serve` is all that a `__main__.py` calls. A context that is alone in its process ends it when it ends; of several, one
that ends leaves the others at work. Topics, schemas and consumer groups are the context's own, so it can move from one
process to another and back.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from events.hosting import CONNECTIONS, Hosted, Service, keep_running, open_pool, service_of
from events.process import tracing
from events.process.channels import server_options
from events.process.main import configure_logging, run_until_stopped
from events.process.private import keep_private
from events.process.settings import Settings, SettingsError, split_address
from events.process.tasks import run_together
from events.projections.positions import live_schema
from events.queries.callers import Authenticated, Callers, services_key
from events.queries.guard import Guarded, Places
from events.queries.local.server import LocalServer
from events.queries.log_dispatch import LogDispatch
from events.queries.reflection import enable_reflection
from events.queries.requests import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES
from forgelog_pb.log.v1.queries_pb2_grpc import add_LogQueriesServicer_to_server

log = logging.getLogger("forgelog.service")

Tell = Callable[[bool], Awaitable[None]]

LOG_QUERIES = "forgelog.log.v1.LogQueries"

STOP_SECONDS = 2.0
"""How long calls under way may go on after the process was told to stop."""

_LEAST_READERS = 4
"""Connections for queries that each of several contexts gets at least."""


async def run(services: Sequence[Service], settings: Settings, *, started: Callable[[int], None] | None = None) -> None:
    """Run contexts in this process until cancelled. `started` is told the gRPC port.

    Raises SettingsError when the port is taken or the services' key can't be read, and what ends a context that is
    alone.
    """
    async with AsyncExitStack() as left:
        pool = await open_pool(settings)
        left.push_async_callback(pool.close)
        readers = max(CONNECTIONS // len(services), _LEAST_READERS)
        hosts: list[Hosted] = []
        for service in services:
            own = settings_of(settings, service.projection.context)
            reading = await open_pool(own, live_schema(own, service.projection.context), most=readers)
            left.push_async_callback(reading.close)
            hosts.append(Hosted(service, own, pool, reading))
        alone = hosts[0].context if len(hosts) == 1 else ""
        tracing.configure(settings, f"forgelog-{alone or 'services'}")

        options = server_options(most_received=MAX_REQUEST_BYTES, most_sent=MAX_ANSWER_BYTES)
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=settings.rpcs)
        callers = Callers(services_key(settings))
        known = Authenticated(server, callers)
        local = LocalServer(callers, most_received=MAX_REQUEST_BYTES, most_sent=MAX_ANSWER_BYTES)
        both, places = Both(known, local), Places(settings.rpcs)
        for hosted in hosts:
            ended = partial(getattr, hosted, "ended")
            guarded = Guarded(both, hosted.context, ended, places=places, tables=hosted.tables)
            for servicer, add, _ in hosted.servicers:
                add(servicer, guarded)
        by_name = {hosted.context: hosted for hosted in hosts}
        logs = {name: hosted.log_queries for name, hosted in by_name.items()}
        dispatch = LogDispatch(logs, lambda name: by_name[name].ended)
        add_LogQueriesServicer_to_server(dispatch, Guarded(both, alone or "log", places=places))
        checks = Checks(hosts)
        health_pb2_grpc.add_HealthServicer_to_server(checks.servicer, known)
        names = [LOG_QUERIES, *(name for hosted in hosts for _, _, name in hosted.servicers)]
        enable_reflection([*names, health.SERVICE_NAME], known)
        try:
            port = server.add_insecure_port(settings.listen)
        except RuntimeError as error:  # it does not say why
            problem = f"can't listen on {settings.listen} (it is taken, or none of this machine's)"
            raise SettingsError(f"{problem}; set FORGELOG_LISTEN to a free host:port") from error
        await server.start()
        left.push_async_callback(server.stop, grace=STOP_SECONDS)
        left.push_async_callback(local.stop, grace=STOP_SECONDS)
        await local.start(settings.data, split_address(settings.listen)[0], port)
        log.info("%s: queries on port %d", ", ".join(hosted.context for hosted in hosts), port)
        if started is not None:
            started(port)
        if alone:
            await hosts[0].run(checks.teller(hosts[0]))
        else:
            await run_together(*(keep_running(hosted, checks.teller(hosted)) for hosted in hosts))


class Both:
    """Stands for two servers where handlers are added to them."""

    def __init__(self, *servers: Any) -> None:
        self._servers = servers

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        for server in self._servers:
            server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        for server in self._servers:
            server.add_registered_method_handlers(service, handlers)


def settings_of(settings: Settings, context: str) -> Settings:
    """A process's settings as those of one context in it."""
    if "{context}" not in settings.instance:
        return settings
    return settings.model_copy(update={"instance": settings.instance.replace("{context}", context)})


class Checks:
    """The gRPC health check: the whole process by the empty name (and by that of the log's queries), each context by
    its own name and by those of its services."""

    def __init__(self, hosts: Collection[Hosted]) -> None:
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._ready = dict.fromkeys((hosted.context for hosted in hosts), False)

    def teller(self, hosted: Hosted) -> Tell:
        """What is told whether a context is ready."""
        names = (hosted.context, *(name for _, _, name in hosted.servicers))

        async def tell(ready: bool) -> None:
            self._ready[hosted.context] = ready
            for name in names:
                await self._set(name, ready)
            for name in ("", LOG_QUERIES):
                await self._set(name, all(self._ready.values()))

        return tell

    async def _set(self, name: str, ready: bool) -> None:
        state = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await self.servicer.set(name, state)


def serve(*names: str) -> None:
    """Run contexts, by their names, until SIGTERM or SIGINT; settings come from the environment. What a person has to
    put right ends the process with one line."""
    keep_private()
    try:
        services = [_named(name) for name in names]
        settings = Settings.load()
        configure_logging(settings)
        run_until_stopped(lambda: run(services, settings))
    except SettingsError as error:
        sys.exit(f"{' '.join(names)}: {error}")


def _named(name: str) -> Service:
    service = service_of(name)
    if service.projection.context != name:
        raise SettingsError(f"the projection of {name!r} names the context {service.projection.context!r}")
    return service
