"""``POST /api/v1/lineage``: the HTTP transport of OpenLineage's clients. Each output of an event is recorded by a
command (`RecordLineage`), so any tool that speaks OpenLineage is part of the lineage.
"""

from __future__ import annotations

import grpc
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from events.language.common import DEFAULT_PROJECT, MAX_COMMAND_BYTES, ProjectName
from events.language.pipelines.dataset_messages import RecordLineage
from services.gateway.commands import Checked, Door, Parsed
from services.gateway.errors import DoorError
from services.gateway.http_answers import ClosedRoute, answering, json_response
from services.gateway.http_bodies import json_of, read_body
from services.gateway.http_gate import principal_of
from services.gateway.openlineage_body import WrongEvent, commands_of
from services.gateway.trace import Trace

LINEAGE = "/api/v1/lineage"
PROJECT = "project"
"""The one parameter: whose datasets they are."""

WAIT_SECONDS = 10.0

_PROJECTS = TypeAdapter[str](ProjectName)


class OpenLineageHttp:
    """The route."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def routes(self) -> list[Route]:
        # MLflow's wild card behind it would take all other methods of the path.
        return [ClosedRoute(LINEAGE, answering(LINEAGE, self._take), methods=["POST"])]

    async def _take(self, request: Request) -> Response:
        for name in request.query_params:
            if name != PROJECT:
                raise DoorError.about(name[:200], "there is no such parameter", f"there is {PROJECT}")
        project = request.query_params.get(PROJECT, DEFAULT_PROJECT)
        try:
            _PROJECTS.validate_python(project)
        except ValidationError as error:
            raise DoorError.about(PROJECT, error.errors()[0]["msg"], "give organization/project") from None
        body = await read_body(request, MAX_COMMAND_BYTES)
        if not body.strip():
            raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, "the body is empty; send an event of OpenLineage as JSON")
        try:
            found = commands_of(json_of(body), project)
        except WrongEvent as wrong:
            first = wrong.errors[0]
            raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, f"{first.field}: {first.problem}", wrong.errors) from None
        with self._door.request(len(body)), Trace(f"POST {LINEAGE}", request.headers.get("traceparent", "")) as trace:
            checked: list[Checked] = []
            for data in found:
                envelope = {"type": RecordLineage.type_name(), "project": project}
                principal, parsed = principal_of(request), Parsed(data, len(body))
                checked.append(await self._door.checked(principal, envelope, parsed, trace.traceparent))
            for _, outcome in await self._door.publish_many(checked, WAIT_SECONDS):
                if outcome is not None and outcome.refused is not None:
                    raise DoorError.of(outcome.refused)
        datasets = [data["dataset_id"] for data in found]
        return json_response({"datasets": datasets}, 201, {"x-trace-id": trace.trace_id})
