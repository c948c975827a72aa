"""Whether a service does its work: it has what it needs, and what it reads moves on.

A service is ready when every partition that it was given takes commands, its tables are the log's, the database
answers, nothing is stopped, and no reader stands still (`events.progress`). That it lags does not make it
unready: a busy service lags. What it waits for is told place by place.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from events.log import topics
from events.process import metrics
from events.progress import Lag, Progress
from events.projections.runner import Runner
from events.streams.intake import Intake
from events.writer.writer import Writer

CHECK_EVERY = 1.0
"""Seconds between two looks at the readers: their numbers come with what they fetch, so that a look asks nobody."""

DATABASE_EVERY = 10.0
"""Seconds between two questions to a database that answered."""

_ANSWER = 5.0
"""Longest wait for the database, in seconds."""

log = logging.getLogger("forgelog.health")


class Health:
    """Of one service. `keep` runs until cancelled."""

    def __init__(
        self,
        writer: Writer,
        runner: Runner,
        pool: asyncpg.Pool,
        patience: float,
        intakes: Sequence[Intake] = (),
    ) -> None:
        """`pool`: that of the queries. `patience`: seconds without a move from which on a reader stands still."""
        self._writer = writer
        self._runner = runner
        self._intakes = intakes
        self._pool = pool
        self._progress = Progress(patience)
        self._looked = 0.0
        self._database = ""
        """Why no query can be answered; empty if they can."""
        self._context = writer.context
        self._behind = -1
        self._measured: dict[tuple[str, str], tuple[int, float, float]] = {}
        """Kind and place → what the gauges of a reader show."""

    @property
    def lags(self) -> list[Lag]:
        """How every reader fares, as of the last look."""
        return self._progress.lags

    def waits(self) -> dict[str, str]:
        """What keeps the service from its work, by place; empty when nothing does."""
        found: dict[str, str] = {}
        states = self._writer.assignment.states()
        if not states:
            found[topics.commands(self._context)] = "no partition is assigned to this process yet"
        for number, state in states.items():
            if state == "stopped":
                continue  # said below, with its cause
            if state == "starting":
                found[f"{topics.commands(self._context)}/{number}"] = "its history is being folded"
            elif state != "ready":
                found[f"{topics.commands(self._context)}/{number}"] = "what others have told meanwhile is being read"
        if not self._runner.positions:
            found["tables"] = self._runner.trouble or "they are being made, or built anew from the log"
        for intake in self._intakes:
            if intake.pool is None and intake.trouble:
                found[f"stream {intake.stream.topic.name}"] = intake.trouble
        if self._database:
            found["database"] = self._database
        stops = (*self._writer.stops, *self._runner.stops, *(stop for each in self._intakes for stop in each.stops))
        stopped = {stop.place: stop.text for stop in stops}
        return {**found, **self._progress.standing(), **stopped}

    async def keep(self, tell: Callable[[bool], Awaitable[None]]) -> None:
        """Look again and again; `tell` whether the service is ready, whenever that changes."""
        told: bool | None = None
        watching = asyncio.create_task(self._watch_database())
        try:
            while True:
                self.look()
                waits = self.waits()
                if (ready := not waits) != told:
                    metrics.ready.labels(self._context).set(ready)
                    if told:
                        log.warning("%s is not ready: %s", self._context, waits)
                    elif ready:
                        log.info("%s is ready", self._context)
                    await tell(ready)
                    told = ready
                await asyncio.sleep(CHECK_EVERY if ready else 0.05)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def look(self) -> None:
        """Note how far every reader is, unless that was done just now."""
        now = time.monotonic()
        if now - self._looked < CHECK_EVERY:
            return
        self._looked = now
        self._progress.begin(now)
        streams = (reading for intake in self._intakes for reading in intake.readings())
        for kind, place, position, end, cause in (*self._writer.readings(), *self._runner.readings(), *streams):
            self._progress.note(kind, place, position, end, cause)
        self._progress.end()
        self._measure()

    def _measure(self) -> None:
        """Set the gauges that have changed: at rest none does, and there are many."""
        behind = sum(lag.left for lag in self._progress.lags if lag.kind == "tables")
        if behind != self._behind:
            metrics.projection_lag.labels(self._context).set(behind)
            self._behind = behind
        for lag in self._progress.lags:
            place, shown = (lag.kind, lag.place), (lag.left, lag.oldest_seconds, lag.still_seconds)
            if self._measured.get(place) != shown:
                metrics.lag.labels(self._context, *place).set(lag.left)
                metrics.oldest.labels(self._context, *place).set(lag.oldest_seconds)
                metrics.still.labels(self._context, *place).set(lag.still_seconds)
                self._measured[place] = shown

    async def _watch_database(self) -> None:
        asking: asyncio.Task[str] | None = None
        try:
            while True:
                asking = asking or asyncio.create_task(self._ask_database())
                await asyncio.wait({asking}, timeout=_ANSWER)
                if asking.done():
                    self._database, asking = asking.result(), None
                elif self._pool.get_size() - self._pool.get_idle_size() < self._pool.get_max_size():
                    # Else every connection is at work, for others. The question is not put again: cancelled, it would
                    # wait for the database all the same.
                    self._database = f"the database does not answer within {_ANSWER:g} s"
                await asyncio.sleep(CHECK_EVERY if self._database else DATABASE_EVERY)
        finally:
            if asking is not None:
                asking.cancel()

    async def _ask_database(self) -> str:
        try:
            async with self._pool.acquire() as db:
                await db.execute("select 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            return f"the database can't be reached ({type(error).__name__}: {error})"
        return ""
