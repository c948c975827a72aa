"""The routes: which endpoint answers which path of MLflow's REST API, in which project.

A client whose tracking URI is the gateway's address works in the default project; with ``/mlflow/ORGANIZATION/PROJECT``
behind the address, in that one. Both versions of the API (2.0 and 3.0) have the same endpoints. An endpoint that the
platform does not have answers 501 with its name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from events.language.common import DEFAULT_PROJECT, ProjectName, shown
from services.gateway.errors import DoorError
from services.gateway.forward import metadata_of
from services.gateway.http_answers import Handler, Refusal, answering, error_response, json_response, shown_path
from services.gateway.http_bodies import body_size
from services.gateway.http_gate import principal_of
from services.gateway.mlflow import (
    artifacts,
    direct,
    experiments,
    inputs,
    logged_models,
    metrics,
    registry,
    runs,
    version_files,
    versions,
)
from services.gateway.mlflow.asked import MAX_BODY_BYTES, Asked
from services.gateway.mlflow.calls import Backend, Calls
from services.gateway.mlflow.errors import refusal
from services.gateway.mlflow.paths import Paths
from services.gateway.mlflow.registry_shapes import VERSIONS
from services.gateway.principal import Access
from services.gateway.trace import Trace

VERSION = "3.17.2"
"""The version of MLflow whose client the door is tried with."""

PREFIX = "/mlflow/{organization}/{name}"
"""Before the paths of a project."""

_ROOTS = ("/api/", "/ajax-api/", "/mlflow/", "/version", "/health", "/get-artifact")

_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")

Endpoint = Callable[[Asked, Calls], Awaitable[dict[str, Any]]]
FileEndpoint = Callable[[Request, Calls], Awaitable[Response]]

ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "experiments/create"): experiments.create,
    ("GET", "experiments/get"): experiments.get,
    ("GET", "experiments/get-by-name"): experiments.get_by_name,
    ("GET", "experiments/search"): experiments.search,
    ("POST", "experiments/search"): experiments.search,
    ("POST", "experiments/update"): experiments.update,
    ("POST", "experiments/delete"): experiments.delete,
    ("POST", "experiments/restore"): experiments.restore,
    ("POST", "experiments/set-experiment-tag"): experiments.set_tag,
    ("POST", "experiments/delete-experiment-tag"): experiments.delete_tag,
    ("POST", "runs/create"): runs.create,
    ("GET", "runs/get"): runs.get,
    ("POST", "runs/update"): runs.update,
    ("POST", "runs/delete"): runs.delete,
    ("POST", "runs/restore"): runs.restore,
    ("POST", "runs/log-parameter"): runs.log_parameter,
    ("POST", "runs/log-batch"): runs.log_batch,
    ("POST", "runs/log-metric"): metrics.log,
    ("GET", "metrics/get-history"): metrics.history,
    ("GET", "metrics/get-history-bulk"): metrics.history_of_runs,
    ("GET", "metrics/get-history-bulk-interval"): metrics.sampled,
    ("POST", "runs/set-tag"): runs.set_tag,
    ("POST", "runs/delete-tag"): runs.delete_tag,
    ("POST", "runs/search"): runs.search,
    ("POST", "runs/log-inputs"): inputs.log,
    ("POST", "runs/outputs"): inputs.log_outputs,
    ("POST", "experiments/search-datasets"): inputs.search_datasets,
    ("GET", "artifacts/list"): artifacts.of_run,
    ("POST", "registered-models/create"): registry.create,
    ("GET", "registered-models/get"): registry.get,
    ("POST", "registered-models/rename"): registry.rename,
    ("PATCH", "registered-models/update"): registry.update,
    ("DELETE", "registered-models/delete"): registry.delete,
    ("GET", "registered-models/search"): registry.search,
    ("GET", "registered-models/get-latest-versions"): registry.latest_versions,
    ("POST", "registered-models/get-latest-versions"): registry.latest_versions,
    ("POST", "registered-models/set-tag"): registry.set_tag,
    ("DELETE", "registered-models/delete-tag"): registry.delete_tag,
    ("POST", "registered-models/alias"): registry.set_alias,
    ("DELETE", "registered-models/alias"): registry.delete_alias,
    ("GET", "registered-models/alias"): registry.get_by_alias,
    ("POST", "model-versions/create"): versions.create,
    ("GET", "model-versions/get"): versions.get,
    ("PATCH", "model-versions/update"): versions.update,
    ("DELETE", "model-versions/delete"): versions.delete,
    ("GET", "model-versions/search"): versions.search,
    ("GET", "model-versions/get-download-uri"): versions.download_uri,
    ("POST", "model-versions/transition-stage"): versions.transition,
    ("POST", "model-versions/set-tag"): versions.set_tag,
    ("DELETE", "model-versions/delete-tag"): versions.delete_tag,
    ("POST", "logged-models"): logged_models.create,
    ("POST", "logged-models/search"): logged_models.search,
    ("GET", "logged-models/{model_id}"): logged_models.get,
    ("PATCH", "logged-models/{model_id}"): logged_models.finalize,
    ("DELETE", "logged-models/{model_id}"): logged_models.delete,
    ("POST", "logged-models/{model_id}/params"): logged_models.log_params,
    ("PATCH", "logged-models/{model_id}/tags"): logged_models.set_tags,
    ("DELETE", "logged-models/{model_id}/tags/{tag_key:path}"): logged_models.delete_tag,
    ("GET", "logged-models/{model_id}/artifacts/directories"): artifacts.of_model,
}

FILE_ENDPOINTS: dict[tuple[str, str], FileEndpoint] = {
    ("GET", "artifacts"): version_files.listed,
    ("GET", f"artifacts/{VERSIONS}/{{version_id}}/artifacts/{{path:path}}"): version_files.download,
    ("PUT", f"artifacts/{VERSIONS}/{{version_id}}/{{path:path}}"): version_files.fixed,
    ("DELETE", f"artifacts/{VERSIONS}/{{version_id}}/{{path:path}}"): version_files.fixed,
    ("GET", "artifacts/{path:path}"): artifacts.download,
    ("PUT", "artifacts/{path:path}"): artifacts.upload,
    ("DELETE", "artifacts/{path:path}"): artifacts.delete,
    ("POST", "mpu/create/{folder:path}"): direct.create,
    ("POST", "mpu/complete/{folder:path}"): direct.complete,
    ("POST", "mpu/abort/{folder:path}"): direct.abort,
    ("GET", f"presigned/{VERSIONS}/{{version_id}}/artifacts/{{path:path}}"): direct.link_of_version,
    ("GET", "presigned/{path:path}"): direct.link,
}
"""Behind ``mlflow-artifacts/``. They answer with bytes, or take some."""

SERVER_INFO = {
    "store_type": "RestStore",
    "workspaces_enabled": False,
    "trace_archival_enabled": False,
    # Bytes by a link are compared with no digest, and each file would be asked for twice: who asks for links gets some.
    "multipart_downloads_enabled": False,
}
"""What the client may ask the server to do beyond the endpoints, and beside uploads in parts."""

_PROJECT: TypeAdapter[str] = TypeAdapter(ProjectName)


def refusals_at(path: str) -> Refusal:
    """How what is refused before any handler is written: on this door's paths, MLflow's client reads it."""
    return refusal if path.startswith(_ROOTS) else error_response


class MlflowDoor:
    """Makes the routes."""

    def __init__(self, backend: Backend, access: Access) -> None:
        self._backend = backend
        self._access = access
        self._endpoints = Paths(
            {key: self._answering(key[1], self._endpoint(key[1], each)) for key, each in ENDPOINTS.items()}
        )
        self._file_endpoints = Paths(
            {key: self._answering(key[1], self._file_endpoint(key[1], each)) for key, each in FILE_ENDPOINTS.items()}
        )
        self._get_artifact = self._answering("get-artifact", self._file_endpoint("get-artifact", artifacts.get))
        self._unknown = self._answering("(unknown)", self._refuse)

    def routes(self) -> list[Route]:
        found: list[Route] = []
        for prefix in ("", PREFIX):
            found += [
                Route(f"{prefix}/version", self._page("/version", lambda: PlainTextResponse(VERSION)), methods=["GET"]),
                Route(f"{prefix}/health", self._page("/health", lambda: PlainTextResponse("OK")), methods=["GET"]),
                Route(
                    f"{prefix}/api/3.0/mlflow/server-info",
                    self._page("server-info", lambda: json_response(self._server_info())),
                    methods=["GET"],
                ),
                Route(f"{prefix}/get-artifact", self._get_artifact, methods=["GET"]),
                Route(
                    f"{prefix}/api/{{version}}/mlflow/{{rest:path}}",
                    self._dispatching(self._endpoints),
                    methods=list(_METHODS),
                ),
                # what pages ask for
                Route(
                    f"{prefix}/ajax-api/{{version}}/mlflow/{{rest:path}}",
                    self._dispatching(self._endpoints),
                    methods=list(_METHODS),
                ),
                Route(f"{prefix}/ajax-api/{{rest:path}}", self._unknown, methods=list(_METHODS)),
                Route(
                    f"{prefix}/api/{{version}}/mlflow-artifacts/{{rest:path}}",
                    self._dispatching(self._file_endpoints),
                    methods=list(_METHODS),
                ),
                Route(f"{prefix}/api/{{rest:path}}", self._unknown, methods=list(_METHODS)),
            ]
        return [*found, Route(f"{PREFIX}/{{rest:path}}", self._unknown, methods=list(_METHODS))]

    def _server_info(self) -> dict[str, Any]:
        return {**SERVER_INFO, "multipart_uploads_enabled": self._backend.uploads.offered}

    def _dispatching(self, endpoints: Paths[Handler]) -> Handler:
        async def handler(request: Request) -> Response:
            found = None
            if request.path_params["version"] in ("2.0", "3.0"):
                found = endpoints.find(request.method, request.path_params["rest"])
            if found is None:
                return await self._unknown(request)
            request.path_params.update(found[1])
            return await found[0](request)

        return handler

    def _endpoint(self, path: str, endpoint: Endpoint) -> Handler:
        async def handler(request: Request) -> Response:
            size = body_size(request, MAX_BODY_BYTES) if request.method != "GET" else 0
            with self._calls(request, path, size) as (calls, trace):
                answer = await endpoint(await Asked.of(request), calls)
                return json_response(answer, 200, {"x-trace-id": trace})

        return handler

    def _file_endpoint(self, path: str, endpoint: FileEndpoint) -> Handler:
        async def handler(request: Request) -> Response:
            self._access.authorize(principal_of(request), f"/{path}")
            with self._calls(request, path, 0) as (calls, trace):
                answer = await endpoint(request, calls)
                answer.headers["x-trace-id"] = trace
                return answer

        return handler

    @contextmanager
    def _calls(self, request: Request, path: str, size: int) -> Iterator[tuple[Calls, str]]:
        """What a request may do, and its trace. `size`: bytes of its body that are held. Raises DoorError."""
        project = _project(request)
        principal = principal_of(request)
        with (
            Trace(f"mlflow {path}", request.headers.get("traceparent", "")) as trace,
            self._backend.door.request(size),
        ):
            metadata = metadata_of(request.headers.items(), trace)
            yield Calls(self._backend, principal, project, trace.traceparent, metadata), trace.trace_id

    def _page(self, path: str, answer: Callable[[], Response]) -> Handler:
        """What is the same for all who have a key."""

        async def handler(request: Request) -> Response:
            self._access.authorize(principal_of(request), path)
            _project(request)
            return answer()

        return self._answering(path, handler)

    @staticmethod
    def _answering(path: str, handler: Handler) -> Handler:
        return answering(f"mlflow {path}", handler, refusal)

    async def _refuse(self, request: Request) -> Response:
        self._access.authorize(principal_of(request), "/mlflow")
        _project(request)
        text = f"the platform does not have {request.method} {shown_path(request.url.path)} of MLflow's API"
        raise DoorError(grpc.StatusCode.UNIMPLEMENTED, text)


def _project(request: Request) -> str:
    """The project whose paths these are. Raises DoorError."""
    if "organization" not in request.path_params:
        return DEFAULT_PROJECT
    text = f"{request.path_params['organization']}/{request.path_params['name']}"
    try:
        return _PROJECT.validate_python(text)
    except ValidationError:
        hint = (
            "write the tracking URI as http://HOST:PORT/mlflow/ORGANIZATION/PROJECT, such as .../mlflow/local/default"
        )
        raise DoorError.about("(path)", f"{shown(text)} is no project", hint) from None
