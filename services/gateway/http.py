"""The HTTP/JSON side: paths to commands, queries, streams, health and metrics. Wiring only; nothing is decided here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc
import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from events.language.common import FieldError, shown
from forgelog_pb.log.v1 import queries_pb2 as log_queries
from services.gateway.catalog import LOG_QUERIES, Catalog, Method, Unknown
from services.gateway.commands import Door
from services.gateway.errors import DoorError
from services.gateway.forward import MAX_SECONDS, Forwarder, metadata_of
from services.gateway.http_answers import (
    TEXT,
    Handler,
    answering,
    form_of,
    http_error,
    json_response,
    raw_response,
    stream_response,
)
from services.gateway.http_bodies import json_of, read_body
from services.gateway.http_commands import post_commands
from services.gateway.http_gate import is_stranger, principal_of
from services.gateway.mlflow.door import MlflowDoor
from services.gateway.objects import MISSING, OBJECT, ObjectDoor
from services.gateway.openapi import document
from services.gateway.openlineage import OpenLineageHttp
from services.gateway.points import PointsDoor
from services.gateway.points_doors import PointsHttp
from services.gateway.principal import Access
from services.gateway.readiness import Readiness
from services.gateway.routes import QueryRoute, query_routes
from services.gateway.routing import Routing
from services.gateway.schemas import Schemas
from services.gateway.trace import Trace
from services.gateway.transcode import request_from_json, request_from_parameters, to_json

MAX_QUERY_BYTES = 1 << 20

_MEANT_FOR_US = frozenset({"timeout"})
"""Parameters of a query's URL that are the gateway's own, not the request's."""


class Http:
    """Makes the application."""

    def __init__(
        self,
        door: Door,
        forwarder: Forwarder,
        catalog: Catalog,
        readiness: Readiness,
        schemas: Schemas,
        access: Access,
        objects: ObjectDoor,
        points: PointsDoor,
        mlflow: MlflowDoor,
    ) -> None:
        self._access = access
        self._door = door
        self._forwarder = forwarder
        self._catalog = catalog
        self._readiness = readiness
        self._schemas = schemas
        self._objects = objects
        self._points = PointsHttp(points)
        self._mlflow = mlflow
        self._openlineage = OpenLineageHttp(door)
        self._routes = query_routes(catalog)
        self._openapi = orjson.dumps(document(catalog, self._routes))

    def application(self) -> Starlette:
        routes = [
            self._route("/v1/commands", self._commands, "POST"),
            self._route("/v1/query/{service}/{method}", self._query, "GET", "POST"),
            *(self._query_route(route) for route in self._routes),
            *self._objects.routes(),
            *self._points.routes(),
            *self._openlineage.routes(),
            *self._mlflow.routes(),
            self._page("/openapi.json", self._document),
            self._page("/asyncapi.json", self._asyncapi),
            self._page("/schemas", self._types),
            self._page("/schemas/{type}", self._schema),
            self._route("/healthz", self._alive, "GET"),
            self._route("/readyz", self._ready, "GET"),
            self._page("/metrics", self._metrics),
            self._route("/metrics/{context}", self._metrics_of, "GET"),
            self._page("/", self._index),
        ]
        application = Starlette(exception_handlers={HTTPException: http_error})
        application.router = Routing(routes)  # /v1/jobs/ is told to be none, as every other wrong path is
        return application

    @staticmethod
    def _route(path: str, handler: Any, *methods: str) -> Route:
        return Route(path, answering(path, handler), methods=list(methods))

    def _page(self, path: str, handler: Handler) -> Route:
        """One of the gateway's own."""

        async def authorized(request: Request) -> Response:
            self._access.authorize(principal_of(request), path)
            return await handler(request)

        return self._route(path, authorized, "GET")

    # Commands

    async def _commands(self, request: Request) -> Response:
        return await post_commands(request, self._door)

    # Queries

    async def _query(self, request: Request) -> Response:
        method = self._find(request.path_params["service"], request.path_params["method"])
        if request.method == "POST":
            if beside := _parameters(request):
                error = FieldError(field=beside[0][0][:200], problem="is a parameter", hint="give it in the body")
                raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, "a POST has its fields in the body", [error])
            body = await read_body(request, MAX_QUERY_BYTES)
            message = request_from_json(json_of(body) if body.strip() else {}, method.request)
        else:
            message = request_from_parameters(_parameters(request), method.request)
        return await self._answer(request, method, message)

    def _query_route(self, route: QueryRoute) -> Route:
        method = route.method

        async def handler(request: Request) -> Response:
            given = _parameters(request)
            if fixed := [name for name, _ in given if name in route.fixed]:
                problem, hint = "is set by this path", "leave it out"
                error = FieldError(field=fixed[0], problem=problem, hint=hint)
                raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, f"{fixed[0]}: {problem}; {hint}", [error])
            pairs = [*request.path_params.items(), *route.fixed.items(), *given]
            message = request_from_parameters(pairs, method.request)
            return await self._answer(request, method, message, text=route.form == "text")

        return self._route(route.path, handler, "GET")

    def _find(self, service: str, method: str) -> Method:
        try:
            return self._catalog.find(service, method)
        except Unknown as unknown:
            raise DoorError(grpc.StatusCode.NOT_FOUND, str(unknown)) from None

    async def _answer(self, request: Request, method: Method, message: Any, *, text: bool = False) -> Response:
        with Trace(f"{request.method} {method.path}", request.headers.get("traceparent", "")) as trace:
            metadata = metadata_of(request.headers.items(), trace)
            headers = {"x-trace-id": trace.trace_id}
            timeout, principal, asked = _timeout(request), principal_of(request), message.SerializeToString()
            if not method.streams:
                answer = await self._forwarder.unary(principal, method, asked, metadata, timeout)
                return raw_response(to_json(method.response.FromString(answer)), 200, headers)
            items = self._forwarder.stream(principal, method, asked, metadata, timeout)
            if text:
                return await stream_response(_texts(items, method), TEXT, headers)
            return await stream_response(_jsons(items, method), form_of(request), headers)

    # The gateway itself

    async def _index(self, _: Request) -> Response:
        paths = [
            "/v1/commands",
            "/v1/query/<service>/<method>",
            *(route.path for route in self._routes),
            OBJECT,
            MISSING,
        ]
        more = ["/openapi.json", "/asyncapi.json", "/schemas", "/healthz", "/readyz", "/metrics"]
        return json_response({"forgelog": "gateway", "paths": paths + more, "grpc": "the same port, with reflection"})

    async def _document(self, _: Request) -> Response:
        return raw_response(self._openapi)

    async def _asyncapi(self, _: Request) -> Response:
        return raw_response(self._schemas.asyncapi)

    async def _types(self, _: Request) -> Response:
        return json_response({"types": self._schemas.types})

    async def _schema(self, request: Request) -> Response:
        return raw_response(self._schemas.of(request.path_params["type"]))

    async def _alive(self, _: Request) -> Response:
        return json_response({"status": "alive"})

    async def _ready(self, request: Request) -> Response:
        """A stranger is told whether, and not what is missing: that names addresses."""
        missing = await self._readiness.missing()
        told: dict[str, Any] = {"ready": not missing}
        if not is_stranger(request):
            told["missing"] = missing
        return json_response(told, 503 if missing else 200)

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def _metrics_of(self, request: Request) -> Response:
        """A service's own metrics, so that one address is enough for Prometheus."""
        asked = log_queries.GetMetricsRequest(context=request.path_params["context"])
        method = self._catalog.by_path(f"/{LOG_QUERIES}/GetMetrics")
        answer = await self._forwarder.unary(principal_of(request), method, asked.SerializeToString(), (), 5.0)
        text = log_queries.GetMetricsResponse.FromString(answer).text
        return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _jsons(items: AsyncGenerator[bytes], method: Method) -> AsyncGenerator[bytes]:
    try:
        async for item in items:
            yield to_json(method.response.FromString(item))
    finally:
        await items.aclose()


async def _texts(items: AsyncGenerator[bytes], method: Method) -> AsyncGenerator[bytes]:
    """The pieces of output in a stream's answers."""
    try:
        async for item in items:
            answer: Any = method.response.FromString(item)
            if answer.data:
                yield answer.data
    finally:
        await items.aclose()


def _parameters(request: Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.query_params.multi_items() if name not in _MEANT_FOR_US]


def _timeout(request: Request) -> float | None:
    texts = request.query_params.getlist("timeout")
    if not texts:
        return None
    try:
        seconds = float(texts[0].removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if 0 < seconds <= MAX_SECONDS and len(texts) == 1:
        return seconds
    problem = "is given twice" if len(texts) > 1 else f"{shown(texts[0])} is no number of seconds"
    raise DoorError.about("timeout", problem, f"give it once, above 0 and at most {MAX_SECONDS}")
