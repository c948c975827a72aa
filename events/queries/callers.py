"""Who calls a service's own gRPC port, and how a caller says so.

The services' ports are for the platform itself: the gateway, `forgelog status`, the supervisor. Each of their calls
carries the platform's key (``authorization: Bearer ...``), a file that only the platform's user can read. `Callers` is
the one place that names the principal of a call; `Authenticated` is the one that keeps the others out, reflection
included. Only the gRPC health check stays open: it tells nothing but whether a service serves. (A watch of health does
not: strangers could hold as many as there may be calls.)

Handlers are wrapped as they are looked up, once a call: an interceptor would cost a further coroutine.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]

from events.process.keys import SERVICES, KeyFileProblem, ensure_key, key_path
from events.process.messages import NoMessage, reader
from events.process.settings import Settings, SettingsError

PLATFORM = "platform"
"""The principal of a caller that has the platform's key."""

OPEN = frozenset({"/grpc.health.v1.Health/Check"})
"""What answers without a key."""

MOST_STRANGERS = 64
"""Most calls without a key to what is open at a time. Each holds a place of a call until its request is there."""
STRANGERS_SECONDS = 1.0
"""How long such a request is waited for."""

_HEADER = "authorization"
_SCHEME = "Bearer "

CALLER = "forgelog-caller"
"""Metadata by which the gateway says for whom it asks. Only the platform can call a service, so it is believed."""

Metadata = tuple[tuple[str, str | bytes], ...]


class Unauthenticated(Exception):
    """It is not known who calls. The text says why, and never what was sent."""


def services_key_path(settings: Settings) -> Path:
    """The file of the key that opens the services' ports."""
    return settings.services_key_file or key_path(settings.data, SERVICES)


def services_key(settings: Settings) -> str:
    """That key; the first process of a platform that asks for it makes it. Raises SettingsError."""
    try:
        return ensure_key(services_key_path(settings))
    except KeyFileProblem as problem:
        raise SettingsError(
            f"{problem} (the file is named by FORGELOG_SERVICES_KEY_FILE, or in FORGELOG_DATA)"
        ) from None


def bearer(key: str) -> Metadata:
    """What a caller adds to a call's metadata."""
    return ((_HEADER, _SCHEME + key),)


def caller_of(context: Any) -> str:
    """For whom the gateway makes a call: the principal's name; empty for a call of the platform itself."""
    return next((str(value) for name, value in context.invocation_metadata() or () if name == CALLER), "")


class Callers:
    """Knows one caller: who has the platform's key."""

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()

    def principal(self, metadata: Iterable[tuple[str, Any]]) -> str:
        """Who makes a call with this metadata. Raises Unauthenticated."""
        given = [value for name, value in metadata if name == _HEADER]
        if not given:
            raise Unauthenticated(
                "this port is the platform's own, and the call has no key: ask the gateway, or send the metadata "
                "'authorization: Bearer KEY' with the key in keys/services.key of the data folder"
            )
        if len(given) > 1 or not isinstance(given[0], str) or not given[0].startswith(_SCHEME):
            raise Unauthenticated("the metadata 'authorization' is not one 'Bearer KEY'")
        digest = hashlib.sha256(given[0][len(_SCHEME) :].encode("utf-8", "surrogateescape")).digest()
        if not hmac.compare_digest(digest, self._digest):
            raise Unauthenticated("the key is not this platform's; it is in keys/services.key of the data folder")
        return PLATFORM


class Authenticated:
    """Stands for a server where handlers are added to it: their calls need a known caller, else UNAUTHENTICATED."""

    def __init__(self, server: Any, callers: Callers) -> None:
        self._server = server
        self._callers = callers

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        self._server.add_generic_rpc_handlers(tuple(_Checked(handler, self._callers) for handler in handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """`grpc.aio` looks up generic handlers only; those here come under their names too."""


class _Checked(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, inner: Any, callers: Callers) -> None:
        self._inner = inner
        self._principal = callers.principal
        self._strangers = Strangers()

    def service(self, details: Any) -> Any:
        handler = self._inner.service(details)
        if handler is not None:
            try:
                self._principal(details.invocation_metadata)
            except Unauthenticated as problem:
                if details.method in OPEN:
                    return self._strangers.handler(handler)
                return grpc.stream_stream_rpc_method_handler(_refuser(str(problem)))
        return handler


class Strangers:
    """Answers calls without a key to what is open: few at a time, and each must send its request soon. Else they could
    hold all calls that a server answers."""

    def __init__(self) -> None:
        self._count = 0

    def handler(self, inner: Any) -> Any:
        """The same as `inner`, a handler of one request and one answer."""

        async def answer(_: Any, context: Any) -> Any:
            return await inner.unary_unary(await self._request(context), context)

        read = reader(inner.request_deserializer)
        return grpc.stream_unary_rpc_method_handler(answer, read, inner.response_serializer)

    async def _request(self, context: Any) -> Any:
        if self._count >= MOST_STRANGERS:
            text = f"{self._count} calls without a key are in hand already; send the key, or try again"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._count += 1
        try:
            async with asyncio.timeout(STRANGERS_SECONDS):
                request = await context.read()
        except TimeoutError:
            text = f"the request did not come within {STRANGERS_SECONDS:g} s of the call's beginning"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, text)
        finally:
            self._count -= 1
        if request is EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no request")
        if isinstance(request, NoMessage):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, request.problem)
        return request


def _refuser(text: str) -> Callable[[Any, Any], AsyncIterator[bytes]]:
    async def refuse(_: Any, context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, text)
        yield b""  # never: abort raises

    return refuse


def service_channel(address: str, key: str, options: Iterable[tuple[str, Any]] = ()) -> grpc.aio.Channel:
    """A connection to a service's own port. Each call carries the key."""
    metadata = bearer(key)
    keyed: Any = [_Unary(metadata), _Stream(metadata)]
    return grpc.aio.insecure_channel(address, [("grpc.enable_http_proxy", 0), *options], interceptors=keyed)


class _WithKey:
    """Adds the key to a call's details."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def _with_key(self, details: Any) -> Any:
        return details._replace(metadata=(*(details.metadata or ()), *self._metadata))


class _Unary(_WithKey, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self._with_key(details), request)


class _Stream(_WithKey, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self._with_key(details), request)
