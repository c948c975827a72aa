"""gRPC calls whose client does not send its request to the end, or does not read its answers: refused in words.

One connection carries many calls, so that a call may stand still while its connection does not. gRPC itself waits as
long as the client likes, and a handler that it waits for can't be ended from outside without leaving the client
unanswered. So handlers of one request are turned into handlers of a stream of requests, which read it themselves.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]

from events.process.messages import NoMessage, reader
from services.gateway import metrics
from services.gateway.errors import DoorError, abort
from services.gateway.slow import Late, Patience

_PATIENT = "patient"
"""Attribute of a handler: what `Patient` made of it."""


class Patient(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """All handlers of a server. Each waits for its client only so long."""

    def __init__(self, inner: Any, patience: Patience) -> None:
        self._inner = inner
        self._patience = patience

    def service(self, details: Any) -> Any:
        handler: Any = self._inner.service(details)
        if handler is None:
            return None
        if (made := vars(handler).get(_PATIENT)) is None:
            made = self._turned(handler)
            if made is not handler:  # its maker may keep it: then it is turned once
                vars(handler)[_PATIENT] = made
        return made

    def _turned(self, handler: Any) -> Any:
        codecs = reader(handler.request_deserializer), handler.response_serializer
        if not handler.request_streaming:
            if handler.response_streaming:
                return grpc.stream_stream_rpc_method_handler(self._stream(handler.unary_stream), *codecs)
            return grpc.stream_unary_rpc_method_handler(self._unary(handler.unary_unary), *codecs)
        if handler.response_streaming and inspect.isasyncgenfunction(handler.stream_stream):
            return grpc.stream_stream_rpc_method_handler(self._both(handler.stream_stream), *codecs)
        return handler

    def _unary(self, inner: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def unary(_: Any, context: Any) -> Any:
            return await inner(await self._request(context), context)

        return unary

    def _stream(self, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Awaitable[None]]:
        async def stream(_: Any, context: Any) -> None:
            request = await self._request(context)
            if inspect.isasyncgenfunction(inner):
                await self._answer(inner(request, context), context)
            else:
                await inner(request, context)

        return stream

    def _both(self, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Awaitable[None]]:
        async def both(_: Any, context: Any) -> None:
            async def requests() -> AsyncIterator[Any]:
                while (request := await self._read(context)) is not EOF:
                    yield request

            await self._answer(inner(requests(), context), context)

        return both

    async def _request(self, context: Any) -> Any:
        request = await self._read(context)
        if request is EOF:
            await abort(context, DoorError(grpc.StatusCode.INVALID_ARGUMENT, "the call has no request"))
        return request

    async def _read(self, context: Any) -> Any:
        try:
            async with asyncio.timeout(self._patience.body):
                request = await context.read()
        except TimeoutError:
            text = (
                f"the request did not come within {self._patience.body:g} s; send less at a time, or set "
                "FORGELOG_GATEWAY_BODY_SECONDS"
            )
            await self._cut(context, "body", DoorError(grpc.StatusCode.DEADLINE_EXCEEDED, text))
        if isinstance(request, NoMessage):
            await abort(context, DoorError(grpc.StatusCode.INVALID_ARGUMENT, request.problem))
        return request

    async def _answer(self, answers: Any, context: Any) -> None:
        async with aclosing(answers):
            async for answer in answers:
                try:
                    async with asyncio.timeout(self._patience.unread):
                        await context.write(answer)
                except TimeoutError:
                    break
            else:
                return
        # What it was about has ended by now; the status waits behind what was not read, until the client reads or goes.
        text = f"nothing was read for {self._patience.unread:g} s; go on behind the last position"
        await self._cut(context, "unread", DoorError(grpc.StatusCode.UNAVAILABLE, text, retry_after=1.0))

    @staticmethod
    async def _cut(context: Any, late: Late, error: DoorError) -> None:
        metrics.cut.labels(late).inc()
        await abort(context, error)
