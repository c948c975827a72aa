"""Queries, passed on to the service that answers them: bytes in, bytes out; deadline, trace and caller's name along.

No method is known here by name; `services.gateway.catalog` tells whose a query is and whether it streams.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from events.language.common import FieldError, shown
from events.log.topics import CONTEXTS
from events.process.channels import ACCEPTED, accepted, client_options
from events.process.retry_hint import DETAILS, retry_seconds
from events.process.settings import Settings
from events.queries.callers import CALLER, Metadata, bearer, services_key
from events.queries.local.client import LocalClient, LocalConnection
from events.queries.local.places import socket_of
from events.queries.requests import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES
from events.queries.status import errors_in
from forgelog_pb.log.v1.queries_pb2 import GetStatusRequest
from forgelog_pb.log.v1.queries_pb2_grpc import LogQueriesStub
from services.gateway import metrics
from services.gateway.catalog import Catalog, Method, Unknown
from services.gateway.errors import DoorError, abort, code_name
from services.gateway.grpc_gate import caller
from services.gateway.limits import Bounds, Limit
from services.gateway.principal import Access, Principal
from services.gateway.trace import Trace

PASSED_ON = frozenset({"tracestate", "baggage"})
"""Request metadata that goes along, besides ``traceparent``. A caller's own key is for this door, and ends here."""

MAX_SECONDS = 86_400
"""Longest time that a query by HTTP may ask for."""

DEFAULT_SECONDS = 30.0
"""Deadline of a unary query whose caller set none."""

_by_socket, _by_grpc = metrics.forwarded.labels("socket"), metrics.forwarded.labels("grpc")


class Relayed(Exception):
    """A service's own answer that is no success; it goes to the caller as it is."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailing = trailing

    @property
    def retry_after(self) -> float:
        """Seconds after which the service asks to be called again; 0 if it does not say."""
        return retry_seconds(self.trailing) or 0.0

    @property
    def errors(self) -> tuple[FieldError, ...]:
        """Which fields the service says are wrong."""
        return errors_in(self.trailing)


class Forwarder:
    """The connections to the services, one each, opened at the first query; each call carries the platform's key.

    Raises SettingsError when that key can't be read.
    """

    def __init__(self, settings: Settings, catalog: Catalog, bounds: Bounds, access: Access) -> None:
        self.catalog = catalog
        self._access = access
        self.addresses = dict(settings.services)
        key = services_key(settings)
        self._key = bearer(key)
        self._sockets = _sockets(settings, key)
        self._channels: dict[str, Any] = {}  # grpc.aio.Channel, whose stubs don't know optional arguments
        self._open: set[Any] = set()
        self._ending = False
        self.queries = Limit("queries", bounds.queries)
        self.streams = Limit("streams", bounds.streams)

    def end_streams(self) -> None:
        """The gateway stops: streams, which may never end by themselves, are told to go elsewhere."""
        self._ending = True
        for call in self._open:
            call.cancel()

    async def close(self) -> None:
        """End all connections; queries on their way fail."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()
        for client in self._sockets.values():
            await client.close()

    def _local(self, context: str, request: bytes) -> LocalConnection | None:
        """The connection to a context's service on this machine, if it takes this request."""
        client = self._sockets.get(context)
        return None if client is None else client.connection(request)

    def channel(self, context: str) -> Any:
        """The connection to a context's service. Raises DoorError when none is configured."""
        if context not in self._channels:
            address = self.addresses.get(context)
            if address is None:
                known = ", ".join(sorted(self.addresses)) or "none"
                if context not in CONTEXTS:
                    raise DoorError(
                        grpc.StatusCode.NOT_FOUND, f"there is no context {shown(context)}; there are: {known}"
                    )
                raise DoorError(
                    grpc.StatusCode.UNIMPLEMENTED,
                    f"no service {context!r} is configured here (there are: {known}); name it in FORGELOG_SERVICES",
                )
            self._channels[context] = grpc.aio.insecure_channel(
                address, options=[*client_options(MAX_ANSWER_BYTES), ("grpc.enable_retries", 0)]
            )
        return self._channels[context]

    def context_of(self, method: Method, request: bytes) -> str:
        """Who answers this request. Raises DoorError."""
        if method.context:
            return method.context
        try:
            context: str = method.request.FromString(request).context  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001 - the decoders have several kinds of errors, all say the same
            text = f"the request is no {method.request.DESCRIPTOR.full_name}: {error}"
            raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, text) from None
        if not context:
            known = ", ".join(sorted(self.addresses))
            raise DoorError.about("context", "is missing", f"name one of {known}")
        return context

    async def unary(
        self, principal: Principal, method: Method, request: bytes, metadata: Metadata, timeout: float | None
    ) -> bytes:
        """A query's answer. Raises Relayed or DoorError."""
        self._access.authorize(principal, method.path)
        context = self.context_of(method, request)
        metadata = (*metadata, (CALLER, principal.name))
        with self.queries.take():
            timeout = DEFAULT_SECONDS if timeout is None else timeout  # 0: the caller's deadline is just over
            try:
                answer: bytes
                if (local := self._local(context, request)) is not None:
                    _by_socket.inc()
                    answer = await local.call(method.path, request, timeout=timeout, metadata=metadata)
                else:
                    _by_grpc.inc()
                    call = self.channel(context).unary_unary(method.path)
                    answer = await call(request, timeout=timeout, metadata=(*metadata, *self._key))
            except grpc.aio.AioRpcError as error:
                raise self._failed(context, error) from None
            return answer

    async def stream(
        self,
        principal: Principal,
        method: Method,
        request: bytes,
        metadata: Metadata,
        timeout: float | None,
        quiet: Callable[[Metadata], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[bytes]:
        """A query's answers as they come. `quiet` is called when the service says that it has taken the request and has
        nothing to say yet. Raises Relayed or DoorError."""
        self._access.authorize(principal, method.path)
        context = self.context_of(method, request)
        metadata = (*metadata, (CALLER, principal.name))
        with self.streams.take():
            stream = self.channel(context).unary_stream(method.path)
            call = stream(request, timeout=timeout, metadata=(*metadata, *self._key))
            self._open.add(call)
            try:
                if accepted(await call.initial_metadata()) and quiet is not None:
                    await quiet((ACCEPTED,))
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError as error:
                raise self._failed(context, error) from None
            except asyncio.CancelledError:
                if not self._ending:
                    raise
                text = "the gateway is stopping; go on behind the last position through another, or in a moment"
                raise DoorError(grpc.StatusCode.UNAVAILABLE, text, retry_after=1.0) from None
            finally:
                self._open.discard(call)
                call.cancel()

    async def serving(self, context: str, timeout: float) -> str:
        """Empty when the service says it is SERVING, else what is wrong."""
        try:
            stub = health_pb2_grpc.HealthStub(self.channel(context))
            try:  # by the context's name: others may be in its process
                asked = health_pb2.HealthCheckRequest(service=context)
                answer = await stub.Check(asked, timeout=timeout, metadata=self._key)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                asked = health_pb2.HealthCheckRequest()  # of an earlier version, which has one context
                answer = await stub.Check(asked, timeout=timeout, metadata=self._key)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"does not answer at {self.addresses[context]} within {timeout:g} s"
            return self._failed(context, error).args[0]  # type: ignore[no-any-return]
        except DoorError as error:
            return error.message
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return ""
        try:
            told = await LogQueriesStub(self.channel(context)).GetStatus(
                GetStatusRequest(context=context), timeout=timeout, metadata=self._key
            )
        except grpc.aio.AioRpcError as error:
            return f"is not ready, and does not say why ({error.code().name})"
        return "; ".join(f"{place}: {why}" for place, why in sorted(told.waits.items())) or "is not ready"

    def _failed(self, context: str, error: grpc.aio.AioRpcError) -> Relayed | DoorError:
        code, details = error.code(), error.details() or ""
        received: Any = error.trailing_metadata() or ()
        # A service that can't answer now says when to come again; else gRPC itself tells that there is none. One that
        # stops cancels its calls.
        lost = code is grpc.StatusCode.UNAVAILABLE and retry_seconds(received) is None
        if lost or code is grpc.StatusCode.CANCELLED:
            text = f"the {context} service can't be reached at {self.addresses[context]}; it may be starting: ask again"
            return DoorError(grpc.StatusCode.UNAVAILABLE, text, retry_after=1.0)
        if code is grpc.StatusCode.UNAUTHENTICATED:
            text = f"the {context} service has another services' key than the gateway; restart the platform"
            return DoorError(grpc.StatusCode.UNAVAILABLE, text)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            problem, hint = f"ended before the {context} service had answered", "give a longer one"
            late = FieldError(field="timeout", problem=problem, hint=hint)
            return DoorError(code, f"timeout: {problem}; {hint}", [late])
        trailing = tuple((key, value) for key, value in received if not key.startswith("grpc-") or key == DETAILS)
        return Relayed(code, details, trailing)


def _sockets(settings: Settings, key: str) -> dict[str, LocalClient]:
    """Of the contexts whose services may be on this machine; those of one process share a connection."""
    by_path: dict[Path, LocalClient] = {}
    found: dict[str, LocalClient] = {}
    for context, address in settings.services.items():
        if (path := socket_of(settings.data, address)) is not None:
            if path not in by_path:
                by_path[path] = LocalClient(path, key, most_sent=MAX_REQUEST_BYTES, most_received=MAX_ANSWER_BYTES)
            found[context] = by_path[path]
    return found


def metadata_of(pairs: Iterable[tuple[str, Any]], trace: Trace) -> Metadata:
    """What goes along with a query."""
    return (("traceparent", trace.traceparent), *((k, v) for k, v in pairs if k in PASSED_ON))


class ForwardHandler(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Takes every query that no servicer of the gateway's own takes."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}  # type: ignore[type-arg]

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:  # type: ignore[type-arg]
        path = details.method
        if path in self._handlers:
            return self._handlers[path]
        try:
            method = self._forwarder.catalog.by_path(path)
        except Unknown as unknown:
            return grpc.unary_unary_rpc_method_handler(_refuser(str(unknown)))
        if method.streams:
            handler = grpc.unary_stream_rpc_method_handler(self._stream(method))
        else:
            handler = grpc.unary_unary_rpc_method_handler(self._unary(method))
        self._handlers[path] = handler
        return handler

    def _unary(self, method: Method) -> Callable[[bytes, Any], Awaitable[bytes]]:
        label = f"{method.service}/{method.name}"
        timer = metrics.seconds.labels("grpc", label)
        answered = metrics.requests.labels("grpc", label, "ok")

        async def unary(request: bytes, context: Any) -> bytes:
            started = time.perf_counter()
            given = context.invocation_metadata() or ()
            try:
                with Trace(method.path, _traceparent(given)) as trace:
                    timeout = context.time_remaining()
                    answer = await self._forwarder.unary(caller(), method, request, metadata_of(given, trace), timeout)
            except Relayed as refusal:
                metrics.requests.labels("grpc", label, code_name(refusal.code)).inc()
                await context.abort(refusal.code, refusal.details, refusal.trailing)
            except DoorError as error:
                metrics.requests.labels("grpc", label, code_name(error.code)).inc()
                await abort(context, error)
            finally:
                timer.observe(time.perf_counter() - started)
            answered.inc()
            return answer

        return unary

    def _stream(self, method: Method) -> Callable[[bytes, Any], AsyncIterator[bytes]]:
        label = f"{method.service}/{method.name}"

        async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
            given = context.invocation_metadata() or ()
            code = "ok"
            try:
                with Trace(method.path, _traceparent(given)) as trace:
                    metadata, timeout = metadata_of(given, trace), context.time_remaining()
                    quiet = context.send_initial_metadata
                    answers = self._forwarder.stream(caller(), method, request, metadata, timeout, quiet)
                    async for answer in answers:
                        yield answer
            except Relayed as refusal:
                code = code_name(refusal.code)
                await context.abort(refusal.code, refusal.details, refusal.trailing)
            except DoorError as error:
                code = code_name(error.code)
                await abort(context, error)
            finally:
                metrics.requests.labels("grpc", label, code).inc()

        return stream


def _traceparent(metadata: Iterable[tuple[str, Any]]) -> str:
    for key, value in metadata:
        if key == "traceparent":
            return str(value)
    return ""


def _refuser(text: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def refuse(_: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
        raise AssertionError("abort returned")

    return refuse
