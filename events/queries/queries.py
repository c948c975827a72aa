"""The reading side of a projection: `ReadModel.view` gives a connection on the live tables, or on the tables as they
were at a time. Also what servicers share: refusals, the options every query takes. Lists: `events.queries.listing`.

`as_of` is general: temporary views of the tables' names show the rows as they were (`events.projections.past`), in a
transaction that is rolled back; the query's SQL is the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import asyncpg
import grpc

from events.language.common import FieldError, shown
from events.log.envelope import Position
from events.process.instants import instant
from events.projections import past
from events.projections.positions import read_positions
from events.projections.runner import Runner
from events.projections.stored import Positions
from events.projections.tables import Db
from events.queries.status import errors_said
from events.queries.watching import Watching

AT_LEAST_SECONDS = 10.0
"""Longest wait for `at_least` positions; a query's deadline may be shorter."""

GATHER_SECONDS = 0.001
"""How long point reads wait for each other while they come in crowds."""

NO_PAST = (
    "an earlier version made the tables, and kept no past of them; they are being built anew. Ask again when that is "
    "done (`forgelog status` shows how far the tables are), or leave the time out"
)

CLOCKS_DIFFER = timedelta(minutes=1)
"""How far the clock of the one who asks for a moment may be ahead of this machine's."""


class QueryError(Exception):
    """A query that can't be answered: becomes its gRPC status.

    The message of what is wrong with one field of the request begins with it: ``FIELD: what is wrong; what to do``.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def fields(self) -> tuple[FieldError, ...]:
        """The field of the request that is wrong; none where the message names none."""
        return errors_said(self.code, self.message)


def not_found(kind: str, id: str, at: datetime | None = None) -> QueryError:
    """There is no such aggregate (at that time)."""
    when = f" as of {instant(at)}" if at else ""
    return QueryError(grpc.StatusCode.NOT_FOUND, f"there is no {kind} {shown(id, 300)}{when}")


def invalid(problem: str) -> QueryError:
    """What is asked can't be answered; the text names the field."""
    return QueryError(grpc.StatusCode.INVALID_ARGUMENT, problem)


def read_options(options: Any, now: datetime | None = None) -> dict[str, Any]:
    """A query's `ReadOptions` message as keyword arguments of `ReadModel.view`; `now` is this moment when left out.

    Raises QueryError for a time to come: an answer as of then would change until then.
    """
    as_of = None
    if options.HasField("as_of"):
        as_of = options.as_of.ToDatetime(tzinfo=UTC)
        now = now or datetime.now(UTC)
        if as_of > now + CLOCKS_DIFFER:
            raise QueryError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"options.as_of: {_said(as_of)} is in the future (here it is {_said(now)}); give a past time",
            )
    return {"as_of": as_of, "at_least": tuple(options.at_least)}


def _said(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


class Stored(Protocol):
    """What else of the log a service stores, beside its projection: streams."""

    async def wait_for(self, wanted: Sequence[Position], timeout: float) -> list[Position]:
        """Wait until these positions are stored; those that are not after `timeout` seconds. Positions of other topics
        hold at once."""


class ReadModel:
    """Reads a projection's tables, through a pool that was opened for their schema."""

    def __init__(self, runner: Runner, pool: asyncpg.Pool, others: Sequence[Stored] = ()) -> None:
        """`others`: `at_least` waits for these, too."""
        self._runner = runner
        self._pool = pool
        self._others = others
        self.watching = Watching()
        """Tells streams which rows change."""
        runner.listeners.append(self.watching)

    @property
    def runner(self) -> Runner:
        """The projection's runner."""
        return self._runner

    @asynccontextmanager
    async def view(
        self,
        *,
        as_of: datetime | None = None,
        at_least: Sequence[str] = (),
    ) -> AsyncIterator[Db]:
        """A connection on which unqualified table names are the projection's tables.

        With `as_of` they are as they were then, but for columns that are rendered: these are null. Raises QueryError
        when `at_least` names no position, or one that the tables don't reach in time, and for `as_of` while tables
        without a past are built anew.
        """
        await self.wait_for(at_least)
        if self._runner.foreign:
            raise QueryError(grpc.StatusCode.FAILED_PRECONDITION, self._runner.foreign)
        async with self._pool.acquire() as db:
            if as_of is None:
                yield db
                return
            if as_of.tzinfo is None:
                raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, "options.as_of: has no time zone; end it with Z")
            transaction = db.transaction()
            await transaction.start()
            try:
                if not await past.is_kept(db, self._runner.schema, self._runner.projection):
                    raise QueryError(grpc.StatusCode.UNAVAILABLE, NO_PAST)
                yield await past.show(db, self._runner.schema, self._runner.projection, as_of)
            finally:
                await transaction.rollback()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[tuple[Db, Positions]]:
        """A connection as `view` gives it, on which all queries see one moment, and how far the tables are in it."""
        async with self.view() as db, db.transaction(isolation="repeatable_read", readonly=True):
            yield db, await read_positions(db, self._runner.schema)

    async def wait_for(self, at_least: Sequence[str]) -> None:
        """Wait until the tables contain these positions."""
        if not at_least:
            return
        try:
            wanted = [_position(text) for text in at_least]
        except ValueError as error:
            raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"options.at_least: {error}") from None
        until = time.monotonic() + AT_LEAST_SECONDS
        missing = await self._runner.wait_for(wanted, AT_LEAST_SECONDS)
        for other in self._others:
            missing += await other.wait_for(wanted, until - time.monotonic())
        if missing:
            names = ", ".join(str(position) for position in missing)
            raise QueryError(
                grpc.StatusCode.UNAVAILABLE,
                f"the tables do not contain {names} after {AT_LEAST_SECONDS:.0f} s; they are behind, or no such "
                f"position exists yet: ask again, or leave at_least out",
            )


def _position(text: str) -> Position:
    """A position of what tables are made of. Raises ValueError: another one would be waited for by nobody."""
    position = Position.parse(text)
    if "." not in position.topic:
        raise ValueError(f"{shown(text)} lacks its topic's kind; write events.{text}")
    if position.topic.startswith("commands."):
        raise ValueError(f"{shown(text)} is where a command stands; give the positions of its events")
    return position


class PointReads:
    """One row each for many callers: those that wait while a query is under way share the next one.

    Every caller sees what was there when it asked, or newer: a query that has begun takes nobody in any more.
    """

    def __init__(self, read: ReadModel, sql: str) -> None:
        """`sql` takes an array of keys and returns rows of a key and its value."""
        self._read = read
        self._sql = sql
        self._waiting: dict[str, list[asyncio.Future[Any]]] = {}
        self._running: asyncio.Task[None] | None = None
        self._crowd = 0
        """How many shared the last query."""

    async def get(self, key: str) -> Any:
        """The key's value; None when there is no such row. Errors are the database's."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        if self._running is None:
            self._running = asyncio.create_task(self._answer())
        return await future

    async def _answer(self) -> None:
        try:
            while self._waiting:
                # Alone, a caller does not wait; among many, they come along with each other.
                await asyncio.sleep(GATHER_SECONDS if self._crowd > 1 else 0)
                asked, self._waiting = self._waiting, {}
                self._crowd = sum(map(len, asked.values()))
                try:
                    async with self._read.view() as db:
                        found = {key: value for key, value in await db.fetch(self._sql, list(asked))}  # noqa: C416
                except Exception as error:  # noqa: BLE001 - told to every caller
                    for future in (each for futures in asked.values() for each in futures):
                        if not future.done():
                            future.set_exception(error)
                    continue
                for key, futures in asked.items():
                    for future in futures:
                        if not future.done():  # its caller may have gone
                            future.set_result(found.get(key))
        finally:
            self._running = None
