"""Answers about pipelines and their versions, from the projection's tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.projections.tables import Db
from events.queries.listing import INT4, Listing
from events.queries.queries import ReadModel, invalid, not_found, read_options
from forgelog_pb.pipelines.v1 import queries_pb2 as pb
from forgelog_pb.pipelines.v1 import queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types

_FILTERS = {
    "project": "project",
    "statuses": "status",
    "name": "strpos(name, lower({value})) > 0",
    "owner": "owner",
    "tag": "spec -> 'tags' ? {value}",
}

_LISTS = {
    named: Listing(
        pb.ListPipelinesRequest,
        "pipelines",
        order={"created_at": datetime, "pipeline_id": str},
        descending=True,
        filters=_FILTERS,
        where="" if named else "retired_at is null",
    )
    for named in (False, True)
}
"""Whether statuses are named → the list."""

_VERSIONS = Listing(
    pb.ListPipelineVersionsRequest,
    "pipeline_versions",
    order={"version": INT4},
    descending=True,
    filters={"pipeline_id": "pipeline_id"},
)


class PipelineQueriesServicer(rpc.PipelineQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetPipeline(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.pipeline_id
        if not id and not (request.project and request.name):
            raise invalid("pipeline_id: is empty; give it, or project and name")
        async with self._read.view(**options) as db:
            if id:
                row = await db.fetchrow("select * from pipelines where pipeline_id = $1", id)
            else:
                of_name = "select * from pipelines where project = $1 and name = $2"
                row = await db.fetchrow(of_name, request.project, request.name)
        if row is None:
            raise not_found("pipeline", id or request.name, options["as_of"])
        return pb.GetPipelineResponse(pipeline=_message(row, types.Pipeline))

    async def ListPipelines(self, request: Any, context: Any) -> Any:
        query = _LISTS[bool(request.statuses)].query(request)
        async with self._read.view(**read_options(request.options)) as db:
            page = await query.fetch(db)
        found = [_message(row, types.Pipeline) for row in page.rows]
        return pb.ListPipelinesResponse(pipelines=found, next_cursor=page.next_cursor)

    async def GetPipelineVersion(self, request: Any, context: Any) -> Any:
        options, key = read_options(request.options), (request.pipeline_id, request.version)
        async with self._read.view(**options) as db:
            found = "select * from pipeline_versions where pipeline_id = $1 and version = $2"
            row = await db.fetchrow(found, *key)
        if row is None:
            raise not_found("version", f"{request.pipeline_id}/{request.version}", options["as_of"])
        return pb.GetPipelineVersionResponse(version=_message(row, types.PipelineVersion))

    async def ListPipelineVersions(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.pipeline_id
        if not id:
            raise invalid("pipeline_id: is empty; give the pipeline whose versions are wanted")
        query = _VERSIONS.query(request)
        async with self._read.view(**options) as db:
            page = await query.fetch(db)
            if not page.rows:
                await check_pipeline(db, id, options["as_of"])
        found = [_message(row, types.PipelineVersion) for row in page.rows]
        return pb.ListPipelineVersionsResponse(versions=found, next_cursor=page.next_cursor)


async def check_pipeline(db: Db, id: str, as_of: datetime | None) -> None:
    """Raises QueryError if there is no such pipeline."""
    if await db.fetchval("select 1 from pipelines where pipeline_id = $1", id) is None:
        raise not_found("pipeline", id, as_of)


def _message(row: Any, kind: Any) -> Any:
    return to_message(dict(row), kind)
