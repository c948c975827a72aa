"""Reads a stream's tables while they grow. Of the rows it knows only their number, `arrival`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from events.projections.tables import Db
from events.queries.queries import QueryError, ReadModel
from events.streams.intake import Intake

LOOK_SECONDS = 1.0
"""Longest wait for news, in seconds, before a follower queries again."""

Fetch = Callable[[Db, int], Awaitable[Sequence[Any]]]
"""Queries the next rows behind an arrival: a bounded number, ordered by `arrival`. None: there are no more yet."""


class StreamReader:
    """A stream's tables, and a context's tables beside them, for queries."""

    def __init__(self, read: ReadModel, intake: Intake) -> None:
        self._read = read
        self._intake = intake

    @property
    def ready(self) -> bool:
        """Whether the stream's tables exist; False shortly after the start of a service."""
        return self._intake.pool is not None

    @asynccontextmanager
    async def view(self) -> AsyncIterator[Db]:
        """A connection, to be used with `schema`. Raises QueryError while the tables do not exist."""
        if self._intake.pool is None:
            raise QueryError(grpc.StatusCode.UNAVAILABLE, "the service has just started; ask again")
        async with self._intake.pool.acquire() as db:
            yield db

    @property
    def schema(self) -> str:
        """The schema of the stream's tables, quoted."""
        return self._intake.schema

    def complete_to(self, moment: float, key: str) -> bool:
        """See `Intake.complete_to`. Raises QueryError if the partition is stopped until a repair."""
        if self._intake.complete_to(moment, key):
            return True
        if cause := self._intake.stands(key):
            problem = f"there may be more that is not stored: {self._intake.stream.topic.name} stands still {cause}"
            raise QueryError(grpc.StatusCode.FAILED_PRECONDITION, problem)
        return False

    async def completed(self, key: str, timeout: float) -> None:
        """Wait until all records with a Kafka key that are in the log now are stored. Raises QueryError if they are not
        after `timeout` seconds, or if the partition is stopped until a repair."""
        moment = time.monotonic()
        try:
            async with asyncio.timeout(timeout), self._intake.news:
                await self._intake.news.wait_for(lambda: self.complete_to(moment, key))
        except TimeoutError:
            text = f"{self._intake.stream.topic.name} was not read to its end within {timeout:g} s; ask again"
            raise QueryError(grpc.StatusCode.UNAVAILABLE, text) from None

    async def follow(
        self, fetch: Fetch, done: Callable[[], Awaitable[bool]], gone: Callable[[], bool], reached: int = -1
    ) -> AsyncIterator[Any]:
        """The rows behind an arrival, then new ones, until `done` or `gone` (the caller has left).

        `done`: returns whether all rows that can come are stored. It is called again when something was stored or an
        event was folded into the context's tables, and at least once a second. If it raises QueryError, that is raised
        here once all stored rows are yielded.
        """
        while not gone():
            arrived, positions = self._intake.arrived, dict(self._read.runner.positions)
            problem: QueryError | None = None
            try:
                last = await done()
            except QueryError as error:
                last, problem = True, error
            async with self.view() as db:
                rows = await fetch(db, reached)
            for row in rows:
                reached = row["arrival"]
                yield row
            if rows:
                continue
            if problem is not None:
                raise problem
            if last:
                return
            await self._news(arrived, positions)

    async def _news(self, arrived: int, positions: Any) -> None:
        """Wait until something was stored, or events were folded."""
        intake, runner = self._intake, self._read.runner

        async def pieces_came() -> None:
            async with intake.news:
                await intake.news.wait_for(lambda: intake.arrived != arrived)

        async def events_came() -> None:
            async with runner.changes:
                await runner.changes.wait_for(lambda: runner.positions != positions)

        waits = [asyncio.create_task(pieces_came()), asyncio.create_task(events_came())]
        try:
            await asyncio.wait(waits, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
