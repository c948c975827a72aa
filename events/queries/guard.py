"""Query handlers as a service offers them: timed, tried again over a moment without the database, and every failure a
status for the caller.

Queries only read. So one that failed because the database was away, or because a rebuild swapped the tables under it,
is asked once more; a stream as long as nothing of it was sent. When that does not help the caller is told to come
again (UNAVAILABLE, with a hint when); a client then goes on behind what it has. And one that found nothing is asked
once more when its tables have what the log had: nobody hears NOT_FOUND of what was there when he asked.

Handlers are wrapped once, when they are added to the server: an interceptor would be asked anew for every call.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, Protocol

import asyncpg
import grpc
from aiokafka.errors import KafkaError

from events.process import metrics
from events.process.channels import ACCEPTED
from events.process.messages import reader
from events.queries.queries import QueryError
from events.queries.requests import check_request, named_by, unnamed
from events.queries.status import status_metadata

HELD_SECONDS = 2.0
"""How long after its start a query is still tried again. A killed Postgres is back in about a second."""
RETRY_AFTER = 1.0
"""Seconds after which a caller is asked to come again."""
QUIET_SECONDS = 0.5
"""When a stream has sent nothing for so long, its caller is told that it was accepted."""

_PAUSE = 0.1

_SWAPPED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
)
_SWAPPED_WORDS = ("could not open relation with OID", "cache lookup failed", "cached plan must not change")

_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

log = logging.getLogger("forgelog.service")


def passing(error: Exception) -> str:
    """Why the same query may succeed when it is asked again; empty when nothing says so."""
    if isinstance(error, _SWAPPED):
        return "the tables are being made or swapped; ask again"
    if isinstance(error, asyncpg.PostgresError) and any(words in str(error) for words in _SWAPPED_WORDS):
        return "the tables are being made or swapped; ask again"
    if isinstance(error, KafkaError) and error.retriable:
        return "the broker can't be reached; ask again"
    if isinstance(error, _AWAY) and not isinstance(error, ValueError):  # asyncpg's own of a wrong argument are both
        return "the database can't be reached; ask again"
    return ""


class Places:
    """How many queries are answered at a time, by whichever way they come."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    def take(self) -> bool:
        """Whether there is a place; `give` must follow then."""
        free = self._taken < self._most
        self._taken += free
        return free

    async def refuse(self, context: Any) -> NoReturn:
        """End a call for which there is none."""
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        text = f"all {self._most} calls that this service answers at a time are under way; ask again"
        await context.abort(code, text, status_metadata(code, text, (), RETRY_AFTER))
        raise AssertionError("abort returned")

    def give(self) -> None:
        """A call that took one has ended."""
        self._taken -= 1


class Behind(Protocol):
    """`events.queries.catching_up.CatchingUp`."""

    async def why_behind(self) -> str:
        """Wait, for a bounded time, until the tables have what the log had when this was called: empty then, else why
        they have not."""


class Guarded:
    """Stands for a server where servicers are added to it.

    Turns `QueryError` into its status, and what nobody foresaw into INTERNAL with a logged traceback.
    """

    def __init__(
        self,
        server: Any,
        context: str,
        ended: Callable[[], str] = str,
        *,
        places: Places | None = None,
        tables: Behind | None = None,
    ) -> None:
        """`ended`: why nothing works for the context now, so that it can't be asked; empty while it does. `places`:
        those of the process; left out: no bound. `tables`: what queries are answered from; NOT_FOUND waits for it."""
        self._server = server
        self._context = context
        self._ended = ended
        self._places = places or Places(sys.maxsize)
        self._tables = tables

    def _check(self, request: Any) -> None:
        """Raises QueryError."""
        if why := self._ended():
            raise QueryError(grpc.StatusCode.UNAVAILABLE, f"{self._context}: {why}")
        check_request(request)

    async def _final(self, error: Exception, request: Any, held: _Held) -> Exception | None:
        """What the caller is told; None: ask once more. What passes by itself is asked for again while the query is not
        old; what is not there, once the tables have what the log had. Who named nothing is told that."""
        if _not_there(error) and (field := unnamed(request, held.named)):
            return QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: is empty; name what is asked for")
        if passing(error):
            if time.perf_counter() - held.since > HELD_SECONDS:
                return error
            await asyncio.sleep(_PAUSE)
            return None
        if self._tables is None or held.caught_up or not _not_there(error):
            return error
        if why := await self._tables.why_behind():
            return QueryError(grpc.StatusCode.UNAVAILABLE, f"{error}, as far as the tables know, but {why}; ask again")
        held.caught_up = True
        return None

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The unguarded handlers under their names: `add_registered_method_handlers` is called with the same."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """What the generated ``add_XServicer_to_server`` calls."""
        named = {name: named_by(service, name) for name in handlers}
        guarded = {name: self._guard(name, handler, named[name]) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))
        self._server.add_registered_method_handlers(service, guarded)

    def _guard(self, name: str, handler: Any, named: tuple[str, ...]) -> Any:
        read, write = reader(handler.request_deserializer), _unless_written(handler.response_serializer)
        if handler.unary_unary:
            answer = self._unary(name, handler.unary_unary, named)
            return grpc.unary_unary_rpc_method_handler(answer, read, write)
        if handler.unary_stream:
            answers = self._stream(name, handler.unary_stream, named)
            return grpc.unary_stream_rpc_method_handler(answers, read, write)
        raise TypeError(f"{name} takes a stream; queries take one request")

    def _unary(self, name: str, inner: Callable[[Any, Any], Any], named: tuple[str, ...]) -> Callable[[Any, Any], Any]:
        timer, places = metrics.queries.labels(self._context, name), self._places

        async def unary(request: Any, context: Any) -> Any:
            if not places.take():
                await places.refuse(context)
            held = _Held(named)
            try:
                while True:
                    try:
                        self._check(request)
                        return await inner(request, context)
                    except Exception as error:  # noqa: BLE001 - every failure must reach the caller as a status
                        if (final := await self._final(error, request, held)) is not None:
                            await _abort(context, final, name)
            finally:
                places.give()
                timer.observe(time.perf_counter() - held.since)

        return unary

    def _stream(self, name: str, inner: Callable[[Any, Any], Any], named: tuple[str, ...]) -> Callable[[Any, Any], Any]:
        places = self._places

        async def stream(request: Any, context: Any) -> AsyncGenerator[Any]:
            if not places.take():
                await places.refuse(context)
            held, sent = _Held(named), False
            quiet = _Quiet(context)
            try:
                while True:
                    try:
                        self._check(request)
                        async with aclosing(inner(request, context)) as answers:
                            async for answer in quiet.until_first(answers):
                                sent = True
                                yield answer
                        return
                    except Exception as error:  # noqa: BLE001 - every failure must reach the caller as a status
                        final = error if sent else await self._final(error, request, held)
                        if final is not None:
                            await _abort(context, final, name)
            finally:
                places.give()

        return stream


class _Quiet:
    """Tells a stream's caller that it was accepted, when its first answer does not come soon."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._told = False

    async def until_first(self, answers: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        """The same answers."""
        if not self._told:
            first = asyncio.ensure_future(anext(answers))
            try:
                done, _ = await asyncio.wait([first], timeout=QUIET_SECONDS)
                if not done:
                    await self._context.send_initial_metadata((ACCEPTED,))
                    self._told = True
                yield await first
            except StopAsyncIteration:
                return
            finally:
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)  # else the answers can't be closed
        async for answer in answers:
            yield answer


class _Held:
    """A query, as long as it is not answered."""

    __slots__ = ("caught_up", "named", "since")

    def __init__(self, named: tuple[str, ...]) -> None:
        self.since = time.perf_counter()
        self.named = named
        """Fields of its request that name what it is about."""
        self.caught_up = False
        """Whether the tables have what the log had when it came."""


def _not_there(error: Exception) -> bool:
    return isinstance(error, QueryError) and error.code is grpc.StatusCode.NOT_FOUND


async def _abort(context: Any, error: Exception, method: str) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError | grpc.aio.BaseError):
        raise error
    if isinstance(error, QueryError):
        code, text = error.code, error.message
    elif text := passing(error):
        log.warning("%s: %s: %s", method, type(error).__name__, error)
        code = grpc.StatusCode.UNAVAILABLE
    else:
        log.exception("%s failed", method, exc_info=error)
        code, text = grpc.StatusCode.INTERNAL, f"{method} failed because of a defect in the service; see its log"
    fields = error.fields if isinstance(error, QueryError) else ()
    again = RETRY_AFTER if code is grpc.StatusCode.UNAVAILABLE else 0.0
    await context.abort(code, text, status_metadata(code, text, fields, again))
    raise AssertionError("abort returned")


def _unless_written(serializer: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A servicer may return an answer that is written already: rows that were rendered when they were stored."""
    return lambda answer: answer if type(answer) is bytes else serializer(answer)
