"""Answers about what came of runs, and what they used."""

from __future__ import annotations

from typing import Any

from events.queries.queries import ReadModel, invalid, not_found, read_options
from forgelog_pb.experiments.v1 import queries_pb2
from forgelog_pb.experiments.v1 import result_queries_pb2 as pb
from forgelog_pb.experiments.v1 import result_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.experiments.costs import HOUR, Prices
from services.experiments.points.answering import PointReader
from services.experiments.purged import purged_since

_ORDERS = {
    types.DIRECTION_UNSPECIFIED: "desc",
    types.DIRECTION_MAXIMIZE: "desc",
    types.DIRECTION_MINIMIZE: "asc",
}
_BEST = """
    select run_id, l.value, version_id from runs join {latest} l using (run_id) {join} model_versions v on
    v.source_run_id = run_id and v.deleted_at is null where runs.experiment_id = $1 and runs.deleted_at is null
    and l.key = $2 and l.value <> 'nan' order by l.value {order}, runs.started_at, run_id, v.created_at desc,
    version_id limit 1
"""
_USED = """
    select coalesce(sum(wall_seconds), 0) as wall_seconds, coalesce(sum(cpu_seconds), 0) as cpu_seconds,
    coalesce(sum(gpu_seconds), 0) as gpu_seconds from runs where experiment_id = $1 and deleted_at is null
"""


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
        purged = row["purged_at"] or await purged_since(self._read, [id], request.options)
        return pb.GetRunResultsResponse(
            run_id=id,
            metrics=await self._points.metrics([] if purged else [id], (), request.options),
            best_checkpoint=row["best_checkpoint"],
            model_versions=[each["version_id"] for each in versions],
            **self._used(row),
        )

    async def GetExperimentResults(self, request: Any, context: Any) -> Any:
        options, id, metric = read_options(request.options), request.experiment_id, request.metric
        if (order := _ORDERS.get(request.direction)) is None:
            raise invalid(f"direction: {request.direction} is no Direction; take minimize, or maximize")
        among = queries_pb2.ListRunsRequest(experiment_ids=[id])
        async with self._read.view(**options) as db:
            if not await db.fetchval("select count(*) from experiments where experiment_id = $1", id):
                raise not_found("experiment", id, options["as_of"])
            run = version = None
            if metric:
                latest = await self._points.latest(db, request.options, [metric], among)
                run, version = [
                    await db.fetchrow(_BEST.format(latest=latest, order=order, join=join), id, metric)
                    for join in ("left join", "join")
                ]
            used = await db.fetchrow(_USED, id)
        return pb.GetExperimentResultsResponse(
            experiment_id=id,
            best_run_id=run["run_id"] if run else "",
            best_value=run["value"] if run else 0.0,
            best_model_version=version["version_id"] if version else "",
            best_model_value=version["value"] if version else 0.0,
            **self._used(used),
        )

    def _used(self, row: Any) -> dict[str, float | None]:
        return {
            "compute_hours": row["wall_seconds"] / HOUR,
            "cpu_hours": row["cpu_seconds"] / HOUR,
            "gpu_hours": row["gpu_seconds"] / HOUR,
            "estimated_cost": self._prices.of(row),
        }
