"""One context at work in a process: its writer, its projection, its intakes and its queries.

`Service` says what a context is made of, `Hosted` is that at work. Must not know the process and its gRPC server, nor
which other contexts are in it: that is `events.service`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import asyncpg
from prometheus_client import REGISTRY

from events.audit.heads import publish_heads
from events.health import Health
from events.language.contexts import ContextsError, broken, contexts
from events.process import metrics
from events.process.settings import Settings, SettingsError
from events.process.tasks import run_together
from events.projections import tables
from events.projections.projection import Projection
from events.projections.runner import Runner
from events.queries.asking import Asking
from events.queries.catching_up import CatchingUp
from events.queries.log_queries import LogServicer
from events.queries.queries import ReadModel
from events.streams.intake import Intake
from events.writer.deciders import OneOrMore, gathered
from events.writer.measures import Measured, Measures
from events.writer.snapshots import Snapshots
from events.writer.writer import Writer

log = logging.getLogger("forgelog.service")

MEASURES = Measures()
"""Of this process's contexts."""
REGISTRY.register(MEASURES)

Servicer = tuple[Any, Callable[[Any, Any], None], str]
"""A servicer, its ``add_XServicer_to_server``, and the service's full name (for reflection)."""

CONNECTIONS = 16
"""Most connections of a pool."""
STOPPED_SECONDS = 10.0
"""A session that sits in a transaction for so long is ended by Postgres: its process was stopped (a paused machine) and
holds the locks of the tables' positions, for which the one that replaces it would wait as long as it is stopped."""


@dataclass(frozen=True, slots=True)
class Answering:
    """What a context's queries are answered from, and its background works with."""

    read: ReadModel
    intakes: Sequence[Intake]
    """In the order of `Service.intakes`."""
    settings: Settings


Background = Callable[[Answering], Awaitable[None]]
"""A further coroutine of the context: work that follows from its tables, and takes longer than a decision may. It runs
until the process stops; its failure is the context's. Several processes may run it at the same time."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a context is made of: ``SERVICE`` in the module ``service`` of its package.

    What is a callable makes its part anew for each host; it may raise SettingsError.
    """

    deciders: Callable[[], OneOrMore]
    projection: Projection
    servicers: Callable[[Answering], Sequence[Servicer]]
    intakes: tuple[Callable[[], Intake], ...] = ()
    background: tuple[Background, ...] = ()


def service_of(context: str) -> Service:
    """A context's `Service`. Raises ContextsError, naming what is missing."""
    spec = contexts().get(context)
    if spec is None:
        raise ContextsError(f"there is no context {context!r}; there are: {', '.join(contexts())}")
    name = f"{spec.package}.service"
    remedy = f"give {spec.package} a module service with SERVICE = Service(...) of events.hosting"
    try:
        found = getattr(import_module(name), "SERVICE", None)
    except (ContextsError, SettingsError):
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ContextsError(f"the context {context!r}: {error}, which {name} imports") from None
        raise ContextsError(f"the context {context!r} can't be run: there is no module {name}; {remedy}") from None
    except Exception as error:  # noqa: BLE001 - anybody's code
        raise ContextsError(f"the context {context!r}: {name} can't be imported: {broken(error)}") from None
    if not isinstance(found, Service):
        raise ContextsError(f"the context {context!r} can't be run: {name} has no SERVICE; {remedy}")
    return found


async def open_pool(settings: Settings, schema: str | None = None, *, most: int = CONNECTIONS) -> asyncpg.Pool:
    """A pool of at most so many connections, made when they are first used; with `schema`, for a `ReadModel` of those
    tables.

    Connections are not reset between uses (a round trip each): what is set is set for one transaction.
    """
    path = {"search_path": tables.quoted(schema)} if schema else {}
    return await asyncpg.create_pool(
        settings.postgres_required,
        min_size=0,
        max_size=most,
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


class Hosted:
    """A context at work."""

    def __init__(self, service: Service, settings: Settings, pool: asyncpg.Pool, reading: asyncpg.Pool) -> None:
        """`pool` is for all that writes, and may be shared; `reading` is for the context's queries.

        Raises SettingsError.
        """
        deciders = gathered(service.deciders())
        for decider in deciders:
            decider.prepare(settings)
        self.context = deciders.context
        self.ended = ""
        """Why nothing works for the context now; empty while it does."""
        self._settings = settings
        self._pool = pool
        self._background = service.background
        self._intakes = [make() for make in service.intakes]
        self._snapshots = Snapshots(settings, pool, settings.snapshot_events)
        self._asking = Asking(settings) if any(decider.consults for decider in deciders) else None
        self._writer = Writer(deciders, settings, self._snapshots, self._asking.ask if self._asking else None)
        self._measured = Measured(self.context, self._writer.partitions)
        self._runner = Runner(service.projection, settings, pool)
        self.tables = CatchingUp(self._runner)
        """What its queries are answered from."""
        self._health = Health(self._writer, self._runner, reading, settings.stall_seconds, self._intakes)
        self._signing: dict[str, str] = {}
        """What keeps heads from being signed."""
        read = ReadModel(self._runner, reading, self._intakes)
        self.log_queries = LogServicer(self.context, read, settings, self.status)
        self._answering = Answering(read, self._intakes, settings)
        self.servicers = tuple(service.servicers(self._answering))

    async def run(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Work until cancelled; `tell` whether the context is ready, whenever that changes. Raises what ends it; it may
        be run again then."""
        MEASURES.add(self._measured)
        try:
            await self._run(tell)
        finally:
            MEASURES.remove(self._measured)
            if self._asking is not None:
                await self._asking.close()

    async def _run(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        await run_together(
            self._snapshots.prepare(),
            self._writer.run(),
            self._runner.run(),
            self._health.keep(tell),
            publish_heads(self._settings, self._runner, self._signing),
            *(intake.run(self._settings, self._pool) for intake in self._intakes),
            *(_awaited(background, self._answering) for background in self._background),
        )

    def status(self) -> dict[str, Any]:
        """What `GetStatus` tells."""
        self._health.look()
        ours, theirs = self._writer.status(), self._runner.status()
        stops = (*self._writer.stops, *self._runner.stops, *(stop for each in self._intakes for stop in each.stops))
        return {
            "partitions": ours["partitions"],
            "projected": theirs["positions"],
            "problems": {stop.place: stop.text for stop in stops},
            "stopped": list(stops),
            "notices": {**ours["notices"], **theirs["notices"], **self._signing},
            "waits": {"service": self.ended} if self.ended else self._health.waits(),
            "lags": self._health.lags,
        }


async def _awaited(background: Background, answering: Answering) -> None:
    await background(answering)


_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
"""Seconds before a context that ended is begun again: doubled each time."""
_HEALTHY_SECONDS = 60.0
"""A context that worked for so long is begun again after the first pause."""


async def keep_running(hosted: Hosted, tell: Callable[[bool], Awaitable[None]]) -> None:
    """Run a context until cancelled, beside others.

    What ends it stops this context alone: it says why (`Hosted.ended`), is not ready, and is begun again after a pause.
    """
    pause = _FIRST_PAUSE
    while True:
        began = time.monotonic()
        try:
            await hosted.run(tell)
            why = "what works for it has ended by itself"
            log.error("%s: %s", hosted.context, why)
        except SettingsError as error:
            why = str(error)
            log.error("%s: %s", hosted.context, why)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            log.exception("%s has ended; the other contexts of this process go on", hosted.context)
        if time.monotonic() - began >= _HEALTHY_SECONDS:
            pause = _FIRST_PAUSE
        hosted.ended = f"it has ended ({why}), and begins again in {pause:g} s; see the log of its process"
        metrics.ready.labels(hosted.context).set(0)
        await tell(False)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        hosted.ended = ""
