"""The Open Inference Protocol v2 over gRPC, with reflection and gRPC's own health service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from events.process.messages import NoMessage, reader
from forgelog.serve import descriptions, grpc_tensors, spans
from forgelog.serve.callers import Callers
from forgelog.serve.engine import Engine
from forgelog.serve.http_answers import ERROR
from forgelog.serve.problems import ServingError, invalid
from forgelog_pb.inference import grpc_service_pb2 as pb
from forgelog_pb.inference import grpc_service_pb2_grpc as pb_grpc
from forgelog_pb.inference.pool import POOL

logger = logging.getLogger("forgelog.serve")

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

_BIG = 16 << 20
"""What a message has beside its tensors: names, shapes."""


def _guarded(call: Callable[[Any, Any, Any], Awaitable[Any]]) -> Callable[[Any, Any, Any], Awaitable[Any]]:
    """Errors become the protocol's statuses."""

    async def answered(self: Any, request: Any, context: Any) -> Any:
        try:
            if isinstance(request, NoMessage):
                raise invalid(request.problem)
            return await call(self, request, context)
        except ServingError as error:
            told = ((ERROR, self._engine.told(error)),)
            await context.abort(grpc.StatusCode[error.fault.code], error.message, told)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception:
            logger.exception("a request failed in the model server itself")
            await context.abort(grpc.StatusCode.INTERNAL, "the model server failed; its log says why")

    return answered


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """What is not here answers UNIMPLEMENTED: shared memory, loading of models, tracing, log settings."""

    def __init__(self, engine: Engine, release: str) -> None:
        self._engine = engine
        self._release = release

    @_guarded
    async def ServerLive(self, request: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    @_guarded
    async def ServerReady(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._engine.ready)

    @_guarded
    async def ModelReady(self, request: Any, context: Any) -> Any:
        self._engine.check_model(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._engine.ready)

    @_guarded
    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(**descriptions.server_metadata(self._release))

    @_guarded
    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        self._engine.check_model(request.name, request.version)
        return pb.ModelMetadataResponse(**descriptions.model_metadata(self._engine))

    @_guarded
    async def ModelConfig(self, request: Any, context: Any) -> Any:
        self._engine.check_model(request.name, request.version)
        return pb.ModelConfigResponse(
            config=ParseDict(descriptions.model_config(self._engine), pb.ModelConfigResponse().config)
        )

    @_guarded
    async def ModelStatistics(self, request: Any, context: Any) -> Any:
        if request.name:
            self._engine.check_model(request.name, request.version)
        told = self._engine.statistics.triton(self._engine.spec.model.name, self._engine.version)
        return pb.ModelStatisticsResponse(model_stats=[told])

    @_guarded
    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        models = descriptions.index(self._engine)
        if request.ready:
            models = [each for each in models if each["state"] == "READY"]
        return pb.RepositoryIndexResponse(models=models)

    @_guarded
    async def ModelInfer(self, request: Any, context: Any) -> Any:
        engine = self._engine
        spans.of_call(context.invocation_metadata() or ())
        asked = grpc_tensors.read_request(engine, request)
        answer = await engine.infer(asked.request)
        if told := engine.timing_headers(answer.timing):
            context.set_trailing_metadata(tuple(told.items()))
        return grpc_tensors.write_answer(engine, asked, answer)

    async def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Each request's parts in turn. An error is an answer of its own: the stream goes on."""
        spans.of_call(context.invocation_metadata() or ())
        async for request in requests:
            if isinstance(request, NoMessage):
                yield pb.ModelStreamInferResponse(error_message=request.problem)
                continue
            try:
                async with aclosing(self._parts(request)) as parts:  # type: ignore[type-var]
                    async for part in parts:
                        yield part
            except ServingError as error:
                yield pb.ModelStreamInferResponse(
                    error_message=error.message, infer_response=pb.ModelInferResponse(id=request.id)
                )

    async def _parts(self, request: Any) -> AsyncIterator[Any]:
        engine = self._engine
        asked = grpc_tensors.read_request(engine, request)
        final = grpc_tensors.wants_final(request)
        async with aclosing(engine.stream(asked.request)) as answers:  # type: ignore[type-var]
            async for answer in answers:
                response = grpc_tensors.write_answer(engine, asked, answer)
                if final:
                    response.parameters["triton_final_response"].bool_param = False
                yield pb.ModelStreamInferResponse(infer_response=response)
        if final:
            last = pb.ModelInferResponse(model_name=engine.spec.model.name, model_version=engine.version, id=request.id)
            last.parameters["triton_final_response"].bool_param = True
            yield pb.ModelStreamInferResponse(infer_response=last)


async def _not_here(_self: Any, _request: Any, context: Any) -> None:
    text = "shared memory, loading of models, tracing and log settings are not served here: they are the deployment's"
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)


for _name, _own in vars(pb_grpc.GRPCInferenceServiceServicer).items():
    if not _name.startswith("_") and getattr(InferenceService, _name) is _own:
        setattr(InferenceService, _name, _not_here)


class GrpcDoor:
    """The server of the port ``grpc``."""

    def __init__(self, engine: Engine, release: str, callers: Callers | None = None) -> None:
        """`callers`: who may ask; anybody if left out."""
        self.server = _server(engine, release, callers or Callers(""))
        self._checks = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(self._checks, self.server)

    async def start(self) -> None:
        await self.server.start()
        for name in ("", SERVICE):
            await self._checks.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and give those that were taken so many seconds."""
        await self._checks.enter_graceful_shutdown()
        await self.server.stop(seconds)


class _Asked:
    """Stands for a server where handlers are added to it: calls that are not a router's are refused. As handlers are
    looked up, once a call: an interceptor would cost a further coroutine."""

    def __init__(self, server: Any, callers: Callers) -> None:
        self._server = server
        self._callers = callers

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        self._server.add_generic_rpc_handlers(tuple(_Checked(handler, self._callers) for handler in handlers))

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """`grpc.aio` looks up generic handlers only; those here come under their names too."""


class _Checked(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, inner: Any, callers: Callers) -> None:
        self._inner = inner
        self._callers = callers
        self._reading: dict[str, Any] = {}
        """Path → its handler, which is told what is no message of the protocol; gRPC would answer it UNKNOWN."""

    def _handler(self, details: Any) -> Any:
        if (known := self._reading.get(details.method)) is not None:
            return known
        handler: Any = self._inner.service(details)
        if handler is not None and details.method.startswith(f"/{SERVICE}/"):
            handler = handler._replace(request_deserializer=reader(handler.request_deserializer))
            self._reading[details.method] = handler
        return handler

    def service(self, details: Any) -> Any:
        handler = self._handler(details)
        if handler is not None:
            try:
                self._callers.check_call(details.method, details.invocation_metadata)
            except ServingError as error:
                return grpc.stream_stream_rpc_method_handler(_refuser(error))
        return handler


def _refuser(error: ServingError) -> Callable[[Any, Any], AsyncIterator[bytes]]:
    async def refuse(_: Any, context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode[error.fault.code], error.message)
        yield b""  # never: abort raises

    return refuse


def _server(engine: Engine, release: str, callers: Callers) -> Any:
    """Not started, and without an address."""
    most = engine.spec.limits.max_body_bytes + _BIG
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", 64 << 10),
            ("grpc.so_reuseport", 0),
        ]
    )
    asked: Any = _Asked(server, callers)
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceService(engine, release), asked)
    for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        POOL.AddSerializedFile(file.serialized_pb)
    checks = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection([SERVICE, checks, reflection.SERVICE_NAME], asked, POOL)
    return server
