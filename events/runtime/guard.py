"""Query handlers as a service offers them: timed, and every failure a status for the caller.

Handlers are wrapped once, when they are added to the server: an interceptor would be asked anew for every call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg
import grpc

from events.runtime import metrics
from events.runtime.queries import QueryError

log = logging.getLogger("forgelog.service")


class Guarded:
    """Stands for a server where servicers are added to it.

    Turns `QueryError` into its status, and what nobody foresaw into INTERNAL with a logged traceback.
    """

    def __init__(self, server: Any, context: str) -> None:
        self._server = server
        self._context = context

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The unguarded handlers under their names: `add_registered_method_handlers` is called with the same."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """What the generated ``add_XServicer_to_server`` calls."""
        guarded = {name: self._guard(name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))
        self._server.add_registered_method_handlers(service, guarded)

    def _guard(self, name: str, handler: Any) -> Any:
        write = _unless_written(handler.response_serializer)
        if handler.unary_unary:
            answer = self._unary(name, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, write)
        if handler.unary_stream:
            answers = self._stream(name, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(answers, handler.request_deserializer, write)
        raise TypeError(f"{name} takes a stream; queries take one request")

    def _unary(self, name: str, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        timer = metrics.queries.labels(self._context, name)

        async def unary(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            try:
                return await inner(request, context)
            except Exception as error:  # noqa: BLE001 - every failure must reach the caller as a status
                await _abort(context, error, name)
            finally:
                timer.observe(time.perf_counter() - started)

        return unary

    def _stream(self, name: str, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def stream(request: Any, context: Any) -> Any:
            try:
                async for response in inner(request, context):
                    yield response
            except Exception as error:  # noqa: BLE001 - every failure must reach the caller as a status
                await _abort(context, error, name)

        return stream


async def _abort(context: Any, error: Exception, method: str) -> None:
    if isinstance(error, grpc.aio.AbortError | grpc.aio.BaseError):
        raise error
    if isinstance(error, QueryError):
        await context.abort(error.code, error.message)
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError | asyncpg.InvalidSchemaNameError):
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the tables are being made or swapped; ask again")
    if isinstance(error, OSError | asyncpg.PostgresConnectionError | asyncpg.InterfaceError):
        log.warning("%s: %s: %s", method, type(error).__name__, error)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the database can't be reached; ask again")
    log.exception("%s failed", method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, f"{method} failed because of a defect in the service; see its log")


def _unless_written(serializer: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A servicer may return an answer that is written already: rows that were rendered when they were stored."""
    return lambda answer: answer if type(answer) is bytes else serializer(answer)
