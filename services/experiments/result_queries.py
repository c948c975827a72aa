"""Answers about what came of runs, and what they used."""

from __future__ import annotations

from typing import Any

from events.queries.queries import ReadModel, not_found, read_options
from forgelog_pb.experiments.v1 import result_queries_pb2 as pb
from forgelog_pb.experiments.v1 import result_queries_pb2_grpc as rpc
from services.experiments.costs import HOUR, Prices
from services.experiments.points.answering import PointReader


class ResultQueriesServicer(rpc.ResultQueriesServicer):
    def __init__(self, read: ReadModel, points: PointReader, prices: Prices) -> None:
        self._read = read
        self._points = points
        self._prices = prices

    async def GetRunResults(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.run_id
        async with self._read.view(**options) as db:
            row = await db.fetchrow("select * from runs where run_id = $1", id)
            if row is None:
                raise not_found("run", id, options["as_of"])
            versions = await db.fetch(
                "select version_id from model_versions where source_run_id = $1 and deleted_at is null "
                "order by created_at, version_id",
                id,
            )
        return pb.GetRunResultsResponse(
            run_id=id,
            metrics=await self._points.metrics([id], (), request.options),
            best_checkpoint=row["best_checkpoint"],
            model_versions=[each["version_id"] for each in versions],
            compute_hours=row["wall_seconds"] / HOUR,
            cpu_hours=row["cpu_seconds"] / HOUR,
            gpu_hours=row["gpu_seconds"] / HOUR,
            estimated_cost=self._prices.of(dict(row)),
        )
