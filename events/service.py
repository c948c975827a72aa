"""A service's whole process: writer, projection runner, gRPC server. `serve` is all that a `__main__.py` calls."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from events.audit.heads import publish_heads
from events.health import Health
from events.process import tracing
from events.process.channels import server_options
from events.process.private import keep_private
from events.process.settings import Settings, SettingsError
from events.process.tasks import run_together
from events.projections import tables
from events.projections.projection import Projection
from events.projections.runner import Runner
from events.queries.callers import Authenticated, Callers, services_key
from events.queries.guard import Guarded
from events.queries.log_queries import LogServicer
from events.queries.queries import ReadModel
from events.queries.reflection import enable_reflection
from events.streams.intake import Intake
from events.writer.deciders import OneOrMore, gathered
from events.writer.snapshots import Snapshots
from events.writer.writer import Writer
from forgelog_pb.log.v1.queries_pb2_grpc import add_LogQueriesServicer_to_server

log = logging.getLogger("forgelog.service")

Servicer = tuple[Any, Callable[[Any, Any], None], str]
"""A servicer, its ``add_XServicer_to_server``, and the service's full name (for reflection)."""

Servicers = Callable[[ReadModel, Settings], Sequence[Servicer]]

Background = Callable[[Settings, asyncpg.Pool], Awaitable[None]]
"""A further coroutine of the process, run until the process stops; its failure ends the process."""

MAX_REQUEST_BYTES = 8 << 20
MAX_ANSWER_BYTES = 64 << 20


def configure_logging(settings: Settings) -> None:
    """One line per message, on stderr."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)


STOPPED_SECONDS = 10.0
"""A session that sits in a transaction for so long is ended by Postgres: its process was stopped (a paused machine) and
holds the locks of the tables' positions, for which the one that replaces it would wait as long as it is stopped."""


async def open_pool(settings: Settings, schema: str | None = None) -> asyncpg.Pool:
    """A connection pool that connects when it is first used; with `schema`, for a `ReadModel` of those tables.

    Connections are not reset between uses (a round trip each): whoever sets something does so for one transaction.
    """
    path = {"search_path": tables.quoted(schema)} if schema else {}
    return await asyncpg.create_pool(
        settings.postgres_required,
        min_size=0,
        max_size=16,
        init=tables.set_codecs,
        reset=_keep,
        command_timeout=60,
        server_settings={
            "application_name": settings.instance or "forgelog",
            "idle_in_transaction_session_timeout": str(int(STOPPED_SECONDS * 1000)),
            **path,
        },
    )


async def _keep(_: Any) -> None:
    """Leave a released connection as it is."""


async def run(
    deciders: OneOrMore,
    projection: Projection,
    servicers: Servicers,
    settings: Settings,
    *,
    extra: Sequence[Background] = (),
    intakes: Sequence[Intake] = (),
    started: Callable[[int], None] | None = None,
) -> None:
    """Run a service until cancelled. `started` is told the gRPC port. Raises SettingsError when its port is taken
    or the services' key can't be read."""
    deciders = gathered(deciders)
    tracing.configure(settings, f"forgelog-{deciders.context}")
    pool = await open_pool(settings)
    snapshots = Snapshots(settings, pool, settings.snapshot_events)
    writer = Writer(deciders, settings, snapshots)
    runner = Runner(projection, settings, pool)
    reading = await open_pool(settings, runner.schema)
    read = ReadModel(runner, reading, intakes)

    signing: dict[str, str] = {}
    """What keeps heads from being signed."""
    fares = Health(writer, runner, reading, settings.stall_seconds, intakes)

    def status() -> dict[str, Any]:
        fares.look()
        ours, theirs = writer.status(), runner.status()
        stopped = [*writer.stops, *runner.stops, *(stop for intake in intakes for stop in intake.stops)]
        return {
            "partitions": ours["partitions"],
            "projected": theirs["positions"],
            "problems": {stop.place: stop.text for stop in stopped},
            "stopped": stopped,
            "notices": {**ours["notices"], **theirs["notices"], **signing},
            "waits": fares.waits(),
            "lags": fares.lags,
        }

    options = server_options(most_received=MAX_REQUEST_BYTES, most_sent=MAX_ANSWER_BYTES)
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=settings.rpcs)
    known = Authenticated(server, Callers(services_key(settings)))
    guarded = Guarded(known, deciders.context)
    own: list[Servicer] = [
        (
            LogServicer(deciders.context, read, settings, status),
            add_LogQueriesServicer_to_server,
            "forgelog.log.v1.LogQueries",
        ),
        *servicers(read, settings),
    ]
    for servicer, add, _ in own:
        add(servicer, guarded)
    checks = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(checks, known)
    names = [name for _, _, name in own]
    enable_reflection([*names, health.SERVICE_NAME], known)
    try:
        port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:  # it does not say why
        problem = f"can't listen on {settings.listen} (it is taken, or none of this machine's)"
        raise SettingsError(f"{problem}; set FORGELOG_LISTEN to a free host:port") from error
    await server.start()
    log.info("%s: queries on port %d", deciders.context, port)
    if started is not None:
        started(port)

    async def tell(ready: bool) -> None:
        state = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *names):
            await checks.set(name, state)

    try:
        await run_together(
            snapshots.prepare(),
            writer.run(),
            runner.run(),
            fares.keep(tell),
            publish_heads(settings, runner, signing),
            *(intake.run(settings, pool) for intake in intakes),
            *(_forever(background, settings, pool) for background in extra),
        )
    finally:
        await server.stop(grace=2)
        await reading.close()
        await pool.close()


async def _forever(background: Background, settings: Settings, pool: asyncpg.Pool) -> None:
    await background(settings, pool)


def serve(
    deciders: OneOrMore,
    projection: Projection,
    servicers: Servicers,
    *,
    extra: Sequence[Background] = (),
    intakes: Sequence[Intake] = (),
) -> None:
    """Run a service until SIGTERM or SIGINT; settings come from the environment."""
    keep_private()
    settings = Settings.load()
    configure_logging(settings)
    run_until_stopped(lambda: run(deciders, projection, servicers, settings, extra=extra, intakes=intakes))


def spare_collections() -> None:
    """Make Python's cycle collector look seldom: a writer makes many objects that live long, and next to no cycles.

    Measured: at the default of 700 new objects a collection, it takes half the time of deciding and folding.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def run_until_stopped(main: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine under uvloop until it ends or SIGTERM or SIGINT cancels it cleanly."""
    spare_collections()

    async def supervised() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            log.info("stopped")

    uvloop.run(supervised())
