"""The Open Inference Protocol v2 over HTTP, with health, metrics and the extensions that Triton's clients call.

An ASGI application of its own for the calls that there are; no framework between a request and the engine costs less
than half of what Starlette's routing does, measured (see docs/decisions/0092-model-server.md). WebSockets and GraphQL
are applications that it hands over to.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.serving import REPORT_PATH
from forgelog.serve import descriptions, rest, spans
from forgelog.serve.callers import Callers
from forgelog.serve.engine import Engine
from forgelog.serve.generate import generate, generate_stream
from forgelog.serve.graphql_door import check_graphql, checked_messages
from forgelog.serve.http_answers import (
    BYTES,
    JSON,
    Gone,
    Receive,
    Scope,
    Send,
    answer,
    answer_error,
    answer_json,
    error_answer,
    given_again,
    header,
    read_body,
    whole_answer,
)
from forgelog.serve.problems import Fault, ServingError
from forgelog.serve.statistics import Timing

_ASKED = "forgelog.asked"
"""In the scope of a request that was read before it was known that it takes longer: the request."""

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Call = Callable[["HttpDoor", Scope, Receive, Send, str, str], Awaitable[None]]
"""Of a model: its name and version, which may be empty."""

logger = logging.getLogger("forgelog.serve")

_NOT_HERE = ("systemsharedmemory", "cudasharedmemory", "trace", "logging")


class HttpDoor:
    """The application of the port ``http``."""

    def __init__(
        self,
        engine: Engine,
        release: str,
        *,
        websocket: Application | None = None,
        graphql: Application | None = None,
        behind: Application | None = None,
        callers: Callers | None = None,
    ) -> None:
        """`callers`: who may ask; anybody if left out. `behind`: takes requests for paths that are unknown here (a
        program that the model server stands before)."""
        self._engine = engine
        self._release = release
        self._websocket = websocket
        self._graphql = graphql
        self._behind = behind
        self._callers = callers or Callers("")
        self._most = engine.spec.limits.max_body_bytes
        self._rest = EndpointType.REST in engine.spec.endpoints
        self._paths = self._plain_paths()
        name, version = engine.spec.model.name, engine.version
        self._infer_paths = {
            f"/v2/models/{name}/infer": (name, ""),
            f"/v2/models/{name}/versions/{version}/infer": (name, version),
        }
        at_once = self._infer_paths if self._rest and engine.may_answer_at_once else {}
        self._at_once = {path.encode("ascii", "replace"): asked for path, asked in at_once.items()}

    def takes(self, url: bytes) -> bool:
        """See `http_protocol.AtOnce`."""
        return url in self._at_once

    def answer(self, url: bytes, scope: Scope, body: bytes) -> tuple[bytes, bytes] | None:
        """See `http_protocol.AtOnce`."""
        if len(body) > self._most:
            return None
        engine = self._engine
        try:
            self._callers.check_header(scope)
            spans.of_request(scope)
            asked = self._read(scope, body, *self._at_once[url])
            if (answered := engine.at_once(asked.request)) is None:
                scope[_ASKED] = asked
                return None
            written, json_length = rest.write_answer(engine, asked, answered)
        except ServingError as error:
            status, text, told = error_answer(error, engine.told(error))
            return whole_answer(status, text, JSON, told)
        except Exception:
            logger.exception("a request failed in the model server itself")
            status, text, told = error_answer(_OUR_FAULT)
            return whole_answer(status, text, JSON, told)
        return whole_answer(
            200, written, JSON if json_length is None else BYTES, _told(engine, answered.timing, json_length)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websockets(scope, receive, send)
            return
        try:
            if scope["path"] == REPORT_PATH:
                await self._report(scope, send)
                return
            self._callers.check(scope)
            spans.of_request(scope)
            await self._http(scope, receive, send)
        except ServingError as error:
            await answer_error(send, error, self._engine.told(error))
        except Gone:
            pass  # nobody is left to be answered
        except Exception:
            logger.exception("a request failed in the model server itself")
            await answer_error(send, _OUR_FAULT)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] == "POST" and self._rest and (found := self._infer_paths.get(path)) is not None:
            await self._infer(scope, receive, send, *found)
            return
        if path == "/graphql" and self._graphql is not None:
            _check_method(scope, "POST")
            body = await read_body(scope, receive, self._most)
            check_graphql(header(scope, b"content-type") or "", body)
            await self._graphql(scope, given_again(body), send)
            return
        if (plain := self._paths.get(path)) is not None:
            method, call = plain
            _check_method(scope, method)
            await call(send)
            return
        if path.startswith("/v2/"):
            await self._of_protocol(scope, receive, send, [unquote(part) for part in _raw_path(scope)[4:].split("/")])
            return
        await self._unknown(scope, receive, send)

    def _plain_paths(self) -> Mapping[str, tuple[str, Callable[[Send], Awaitable[None]]]]:
        """Path → method, and what answers."""

        async def live(send: Send) -> None:
            await answer_json(send, {"live": True})

        async def ready(send: Send) -> None:
            self._engine.check_ready()
            await answer_json(send, {"ready": True})

        async def metadata(send: Send) -> None:
            await answer_json(send, descriptions.server_metadata(self._release))

        async def index(send: Send) -> None:
            await answer_json(send, descriptions.index(self._engine))

        paths = {
            "/v2": ("GET", metadata),
            "/v2/": ("GET", metadata),
            "/v2/health/live": ("GET", live),
            "/v2/health/ready": ("GET", ready),
            "/v2/repository/index": ("POST", index),
            "/v2/models/stats": ("GET", self._statistics),
        }
        if extra := self._engine.spec.health.path:
            paths[extra] = ("GET", ready)
        if self._engine.spec.monitoring.metrics:
            paths["/metrics"] = ("GET", self._metrics)
        return paths

    async def _of_protocol(self, scope: Scope, receive: Receive, send: Send, parts: list[str]) -> None:
        """What is below ``/v2/``."""
        if parts[0] in _NOT_HERE or parts[:1] == ["repository"] or parts[-2:] == ["trace", "setting"]:
            raise _not_served(parts)
        if parts[0] != "models" or len(parts) < 2:
            await self._unknown(scope, receive, send)
            return
        name, rest_of = parts[1], parts[2:]
        version = ""
        if rest_of[:1] == ["versions"] and len(rest_of) > 1:
            version, rest_of = rest_of[1], rest_of[2:]
        found = _CALLS.get("/".join(rest_of))
        if found is None:
            await self._unknown(scope, receive, send)
            return
        self._engine.check_model(name, version)
        method, call = found
        _check_method(scope, method)
        await call(self, scope, receive, send, name, version)

    async def _infer(self, scope: Scope, receive: Receive, send: Send, name: str, version: str) -> None:
        self._check_rest()
        engine = self._engine
        asked = scope.get(_ASKED) or self._read(scope, await read_body(scope, receive, self._most), name, version)
        answered = await engine.infer(asked.request)
        written, json_length = rest.write_answer(engine, asked, answered)
        headers = _told(engine, answered.timing, json_length)
        await answer(send, 200, written, JSON if json_length is None else BYTES, headers)

    def _read(self, scope: Scope, body: bytes, name: str, version: str) -> rest.Asked:
        length = header(scope, b"inference-header-content-length")
        return rest.read_request(self._engine, body, length, "rest", name, version)

    async def _generate(self, scope: Scope, receive: Receive, send: Send, name: str, version: str) -> None:
        self._check_rest()
        body = rest.read_json(await read_body(scope, receive, self._most))
        await generate(self._engine, body, name, version, send)

    async def _generate_stream(self, scope: Scope, receive: Receive, send: Send, name: str, version: str) -> None:
        self._check_rest()
        body = rest.read_json(await read_body(scope, receive, self._most))
        await generate_stream(self._engine, body, name, version, receive, send)

    async def _metadata(self, scope: Scope, receive: Receive, send: Send, name: str, version: str) -> None:
        await answer_json(send, descriptions.model_metadata(self._engine))

    async def _ready(self, scope: Scope, receive: Receive, send: Send, name: str, version: str) -> None:
        self._engine.check_ready()
        await answer_json(send, {"name": name, "ready": True})

    async def _config(self, scope: Scope, receive: Receive, send: Send, name: str, version: str) -> None:
        await answer_json(send, descriptions.model_config(self._engine))

    async def _stats(self, scope: Scope, receive: Receive, send: Send, name: str, version: str) -> None:
        await self._statistics(send)

    async def _statistics(self, send: Send) -> None:
        engine = self._engine
        told = engine.statistics.triton(engine.spec.model.name, engine.version)
        await answer_json(send, {"model_stats": [told]})

    async def _metrics(self, send: Send) -> None:
        engine = self._engine
        labels = {
            "deployment": engine.spec.deployment_id,
            "revision": str(engine.spec.revision),
            "model": engine.spec.model.name,
            "version": engine.version,
        }
        registry = CollectorRegistry()
        collect = partial(engine.statistics.metrics, labels, engine.ready, engine.in_flight)
        registry.register(_Collector(collect))
        await answer(send, 200, generate_latest(registry), CONTENT_TYPE_LATEST.encode())

    async def _report(self, scope: Scope, send: Send) -> None:
        """For the node's agent: callers do not learn what others ask."""
        if not self._callers.is_agent(scope):
            raise ServingError(Fault.FORBIDDEN, "this is for the node's agent alone")
        engine = self._engine
        custom = {} if engine.metrics is None else await engine.metrics.told()
        await answer_json(send, {"custom": custom, "inputs": engine.counted.told()})

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._behind is not None:
            await self._behind(scope, receive, send)
            return
        raise ServingError(
            Fault.NOT_FOUND,
            f"there is nothing at {scope['path'][:200]!r}; the model is at /v2/models/{self._engine.spec.model.name}",
        )

    async def _websockets(self, scope: Scope, receive: Receive, send: Send) -> None:
        spans.of_request(scope)
        try:
            self._callers.check(scope)
        except ServingError:
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: answered 403
            return
        if scope["path"] == "/graphql" and self._graphql is not None:
            await self._graphql(scope, checked_messages(receive, send), send)
        elif self._websocket is not None and (scope["path"] in self._infer_paths or scope["path"][:4] != "/v2/"):
            await self._websocket(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSocket is served at this path"})

    def _check_rest(self) -> None:
        if not self._rest:
            raise ServingError(Fault.NOT_FOUND, "this deployment has no endpoint of type rest; ask it another way")


class _Collector:
    """What Prometheus' library asks for metrics."""

    def __init__(self, collect: Callable[[], Any]) -> None:
        self.collect = collect


_CALLS: Mapping[str, tuple[str, Call]] = {
    "": ("GET", HttpDoor._metadata),
    "ready": ("GET", HttpDoor._ready),
    "config": ("GET", HttpDoor._config),
    "stats": ("GET", HttpDoor._stats),
    "infer": ("POST", HttpDoor._infer),
    "generate": ("POST", HttpDoor._generate),
    "generate_stream": ("POST", HttpDoor._generate_stream),
}
"""What follows a model's path."""


_OUR_FAULT = ServingError(Fault.MODEL_FAILED, "the model server failed; its log says why")


def _told(engine: Engine, timing: Timing, json_length: int | None) -> dict[str, str]:
    """An answer's headers."""
    headers = engine.timing_headers(timing)
    if json_length is not None:
        headers["inference-header-content-length"] = str(json_length)
    return headers


def _check_method(scope: Scope, method: str) -> None:
    if scope["method"] != method and not (method == "GET" and scope["method"] == "HEAD"):
        raise ServingError(Fault.METHOD, f"{scope['path'][:200]!r} takes {method}, not {scope['method'][:20]}")


def _raw_path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")


def _not_served(parts: list[str]) -> ServingError:
    return ServingError(
        Fault.UNIMPLEMENTED,
        f"{'/'.join(parts)[:200]!r} is not served here: shared memory, loading of models, tracing and log settings "
        "are the deployment's",
    )
