"""Answers about runs of pipelines, their stages and workers, from the projection's tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.projections.tables import Db
from events.queries.listing import Condition, Listing
from events.queries.queries import ReadModel, invalid, read_options
from events.queries.row_watch import RowWatch
from forgelog_pb.pipelines.v1 import run_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import run_queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types
from services.pipelines.pipeline.run_rows import RUNS
from services.pipelines.queries import PIPELINES

_RUNS = Listing(
    pb.ListPipelineRunsRequest,
    "pipeline_runs",
    order={"queued_at": datetime, "run_id": str},
    descending=True,
    filters={
        "pipeline_id": "pipeline_id",
        "project": "project",
        "statuses": "status",
        "triggers": "trigger",
        "trigger_id": "trigger_id",
    },
)

_STAGES = Listing(
    pb.ListStageRunsRequest,
    "stage_runs",
    order={"stage_id": str},
    filters={"pipeline_id": "pipeline_id", "statuses": "status"},
    own=("number",),
)

_WORKERS = Listing(
    pb.ListPipelineWorkersRequest,
    "pipeline_workers",
    order={"requested_at": datetime, "worker": str},
    descending=True,
    filters={"pipeline_id": "pipeline_id"},
)

_WATCH = RowWatch(
    pb.WatchPipelineRunsRequest,
    "pipeline_runs",
    RUNS,
    kind="run",
    changed="updated_at",
    ids="run_ids",
    filters={"pipeline_id": "pipeline_id", "project": "project"},
)


class RunQueriesServicer(rpc.RunQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetPipelineRun(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            row = await _run(db, request, options["as_of"])
        return pb.GetPipelineRunResponse(run=_message(row, types.PipelineRun))

    async def ListPipelineRuns(self, request: Any, context: Any) -> Any:
        page = await PIPELINES.page(self._read, _RUNS, request)
        found = [_message(row, types.PipelineRun) for row in page.rows]
        return pb.ListPipelineRunsResponse(runs=found, next_cursor=page.next_cursor)

    async def ListStageRuns(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            run = await _run(db, request, options["as_of"])
            query = _STAGES.query(request, more=[Condition("run_id = {0}", [run["run_id"]])])
            page = await query.fetch(db)
        found = [_message(row, types.StageRun) for row in page.rows]
        return pb.ListStageRunsResponse(stages=found, next_cursor=page.next_cursor)

    async def WatchPipelineRuns(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async with aclosing(_WATCH.batches(self._read, request)) as batches:
            async for rows in batches:
                for row in rows:
                    yield pb.WatchPipelineRunsResponse(run=_message(row, types.PipelineRun))

    async def ListPipelineWorkers(self, request: Any, context: Any) -> Any:
        page = await PIPELINES.page(self._read, _WORKERS, request, "give the pipeline whose workers are wanted")
        found = [_message(row, types.PipelineWorker) for row in page.rows]
        return pb.ListPipelineWorkersResponse(workers=found, next_cursor=page.next_cursor)


async def _run(db: Db, request: Any, as_of: datetime | None) -> Any:
    """The run that a request names, or the newest one. Raises QueryError."""
    id, number = request.pipeline_id, request.number
    if not id:
        raise invalid("pipeline_id: is empty; give the pipeline whose run is wanted")
    found = "select * from pipeline_runs where pipeline_id = $1"
    if number:
        row = await db.fetchrow(f"{found} and number = $2", id, number)
    else:
        row = await db.fetchrow(f"{found} order by number desc limit 1", id)
    if row is None:
        raise await PIPELINES.lacks(db, f"run {number}" if number else "run", id, as_of)
    return row


def _message(row: Any, kind: Any) -> Any:
    return to_message(dict(row), kind)
