"""The gateway's process: one port, the gRPC server and the HTTP application behind it, and the log in front of both."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from aiokafka.errors import KafkaError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from events.language.registry import command_types
from events.log.outcomes import Outcomes
from events.log.producer import Producer
from events.log.publish import Publisher
from events.log.topics import TopicsUnusable, ensure_topics
from events.log.wire import Raw
from events.process import tracing
from events.process.channels import server_options
from events.process.settings import Settings
from events.process.tasks import run_together
from events.queries.reflection import enable_reflection
from events.queries.requests import MAX_ANSWER_BYTES
from forgelog_pb.gateway.v1.commands_pb2_grpc import add_CommandsServicer_to_server
from forgelog_pb.gateway.v1.points_pb2_grpc import add_PointsServicer_to_server
from services.gateway.catalog import Catalog
from services.gateway.commands import Door
from services.gateway.forward import Forwarder, ForwardHandler
from services.gateway.front import Front
from services.gateway.grpc_gate import Gated
from services.gateway.hosts import Hosts
from services.gateway.http import Http
from services.gateway.http_gate import Gate
from services.gateway.http_side import HttpSide
from services.gateway.limits import Bounds
from services.gateway.mlflow.calls import Backend
from services.gateway.mlflow.door import MlflowDoor, refusals_at
from services.gateway.object_bytes import ObjectBytes
from services.gateway.object_uploads import Uploads
from services.gateway.objects import ObjectDoor
from services.gateway.optuna import OptunaHandler
from services.gateway.optuna_live import Live
from services.gateway.points import PointsDoor
from services.gateway.points_doors import SERVICE as POINTS
from services.gateway.points_doors import PointsServicer
from services.gateway.principal import Access
from services.gateway.readiness import Readiness
from services.gateway.schemas import Schemas
from services.gateway.servicer import SERVICE, CommandsServicer
from services.gateway.slow import watch
from services.gateway.slow_calls import Patient

log = logging.getLogger("forgelog.gateway")

DRAIN_SECONDS = 10.0
"""How long requests under way may go on after the gateway was told to stop."""

MAX_REQUEST_BYTES = 16 << 20
"""Largest gRPC request; a batch of commands is the largest there is."""


MAX_PENDING_CALLS = 4_000
"""Their headers are what they take: bodies are read when they are looked at."""


class CannotListen(Exception):
    """The gateway's address is taken, or is none of this machine's; the text says which and what to do."""


async def run(
    settings: Settings, *, bounds: Bounds | None = None, started: Callable[[int], None] | None = None
) -> None:
    """Run the gateway until cancelled. `started` is told the port, before Kafka is connected. Raises CannotListen, and
    SettingsError without a broker's address or keys."""
    _ = settings.kafka_required
    tracing.configure(settings, "forgelog-gateway")
    command_types()  # imports each context's language now: no first command is to wait for it
    bounds = bounds or Bounds.of(settings)
    access = Access(settings)
    catalog = Catalog()
    forwarder = Forwarder(settings, catalog, bounds, access)
    readiness = Readiness(settings, forwarder)
    carrying = ObjectBytes(settings.objects_url, bounds.object_bytes)
    door = Door(catalog, bounds, access, carrying.lacking)
    studies = Live(settings)
    objects = ObjectDoor(carrying, access)
    points = PointsDoor(settings, catalog, forwarder, bounds, access)
    uploads = Uploads(carrying, settings.objects_direct)
    mlflow = MlflowDoor(Backend(door, forwarder, catalog, points, carrying, uploads), access)
    pages = Http(door, forwarder, catalog, readiness, Schemas(settings), access, objects, points, mlflow)
    hosts = Hosts.of(settings)
    http = HttpSide(Gate(pages.application(), access, hosts, refusals_at))
    checks = health.aio.HealthServicer()  # type: ignore[attr-defined]
    host, port = settings.gateway_listens
    async with AsyncExitStack() as stack:
        stack.push_async_callback(readiness.close)
        stack.push_async_callback(forwarder.close)
        stack.push_async_callback(studies.close)
        own = [OptunaHandler(door, studies)]
        serving = _grpc_server(catalog, door, points, forwarder, checks, bounds, access, own)
        server, socket = await stack.enter_async_context(serving)
        front = Front(socket, http.protocol, http.connections, bounds.connections, bounds.patience, hosts.problem)
        try:
            port = await front.start(host, port)
        except OSError as error:
            problem = os.strerror(error.errno or 0)
            raise CannotListen(
                f"can't listen on {settings.gateway} ({problem}); set FORGELOG_GATEWAY to a free host:port"
            ) from error
        log.info("gRPC and HTTP on %s:%d", host, port)
        if started is not None:
            started(port)
        try:
            watching = watch(bounds.patience, lambda: [*front.spliced, *http.watched()])
            await run_together(http.keep_date(), watching, _open_log(settings, door, points, readiness, checks))
        finally:
            readiness.starting = "the gateway is stopping"
            front.stop_listening()
            forwarder.end_streams()
            await asyncio.gather(http.drain(DRAIN_SECONDS), server.stop(DRAIN_SECONDS))
            front.close()


@asynccontextmanager
async def _grpc_server(
    catalog: Catalog,
    door: Door,
    points: PointsDoor,
    forwarder: Forwarder,
    checks: Any,
    bounds: Bounds,
    access: Access,
    own: Sequence[grpc.GenericRpcHandler],  # type: ignore[type-arg]
) -> AsyncIterator[tuple[Any, str]]:
    options = [
        *server_options(most_received=MAX_REQUEST_BYTES, most_sent=MAX_ANSWER_BYTES),
        ("grpc.server_handshake_timeout_ms", int(bounds.patience.head * 1000)),
        # Calls that wait to be looked at. Beyond this gRPC cancels some, which says neither why nor for how long.
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_PENDING_CALLS),
    ]
    folder = Path(tempfile.mkdtemp(prefix="forgelog-gateway-"))  # only this user may enter it
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=bounds.calls)
    gated: Any = Gated(access)
    add_CommandsServicer_to_server(CommandsServicer(door), gated)
    add_PointsServicer_to_server(PointsServicer(points), gated)
    health_pb2_grpc.add_HealthServicer_to_server(checks, gated)
    enable_reflection([SERVICE, POINTS, *catalog.services, health.SERVICE_NAME], gated)
    gated.add_generic_rpc_handlers((*own, ForwardHandler(forwarder)))  # last: it takes what is left
    server.add_generic_rpc_handlers((Patient(gated, bounds.patience),))
    try:
        socket = str(folder / "grpc")
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        yield server, socket
        await server.stop(0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _open_log(settings: Settings, door: Door, points: PointsDoor, readiness: Readiness, checks: Any) -> None:
    """Connect to Kafka, however long that takes; from then on commands and points are taken."""
    pause = 0.2

    def saw(event: Raw) -> None:
        door.backlog.saw(event)
        points.runs.saw(event)

    while True:
        try:
            await ensure_topics(settings)
            async with (
                Publisher(settings) as publisher,
                Producer(settings) as producer,
                Outcomes(settings, saw) as outcomes,
            ):
                door.open(publisher, outcomes)
                points.open(producer)
                readiness.starting = ""
                for name in ("", SERVICE, POINTS):
                    await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
                log.info("commands and points are taken")
                try:
                    await outcomes.lasting()
                finally:
                    await checks.enter_graceful_shutdown()
                    await asyncio.gather(door.drain(DRAIN_SECONDS), points.drain(DRAIN_SECONDS))
        except (KafkaError, OSError, TopicsUnusable) as error:
            readiness.starting = f"the gateway can't use Kafka at {settings.kafka}: {error}"
            log.warning("%s; trying again in %.1f s", readiness.starting, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
