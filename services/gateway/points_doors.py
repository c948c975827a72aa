"""Points by gRPC (`forgelog.gateway.v1.Points`) and by HTTP (``POST /v1/runs/{run_id}/points``)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from events.language.common import Refused
from events.language.experiments.points import MAX_BATCH_BYTES, batch_of
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from forgelog_pb.gateway.v1 import points_pb2 as pb
from forgelog_pb.gateway.v1 import points_pb2_grpc as rpc
from services.gateway.errors import DoorError
from services.gateway.grpc_answers import answered
from services.gateway.grpc_gate import caller
from services.gateway.http_answers import answering, json_response
from services.gateway.http_bodies import json_of, read_body
from services.gateway.http_gate import principal_of
from services.gateway.points import SECONDS, PointsDoor

SERVICE = "forgelog.gateway.v1.Points"
POINTS = "/v1/runs/{run_id}/points"

_MARGIN = 0.05
"""Seconds of a call's deadline kept for the answer."""


class PointsServicer(rpc.PointsServicer):
    """Every failure becomes the call's status with details."""

    def __init__(self, door: PointsDoor) -> None:
        self._door = door

    async def Log(self, request: pb.LogRequest, context: Any) -> pb.LogResponse:
        return await answered(f"{SERVICE}/Log", context, self._log(request, context.time_remaining()))

    async def _log(self, request: pb.LogRequest, remaining: float | None) -> pb.LogResponse:
        seconds = SECONDS if remaining is None else max(min(SECONDS, remaining - _MARGIN), 0.001)
        position, count = await self._door.log(caller(), request.batch, seconds)
        return pb.LogResponse(position=str(position), points=count)


class PointsHttp:
    """The route."""

    def __init__(self, door: PointsDoor) -> None:
        self._door = door

    def routes(self) -> list[Route]:
        return [Route(POINTS, answering(POINTS, self._log), methods=["POST"])]

    async def _log(self, request: Request) -> Response:
        for name in request.query_params:
            raise DoorError.about(name[:200], "there is no such parameter", "leave it out")
        body = await read_body(request, MAX_BATCH_BYTES)
        try:
            batch = batch_of(json_of(body), PointBatch, request.path_params["run_id"])
        except Refused as refused:
            raise DoorError.of(refused) from None
        position, count = await self._door.log(principal_of(request), batch, size=len(body))
        return json_response({"position": str(position), "points": count})
