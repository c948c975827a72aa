"""Answers about pipelines and their versions, from the projection's tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.queries.listing import INT4, Listing
from events.queries.named import NamedRows
from events.queries.queries import ReadModel, read_options
from forgelog_pb.pipelines.v1 import queries_pb2 as pb
from forgelog_pb.pipelines.v1 import queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types

_FILTERS = {
    "project": "project",
    "statuses": "status",
    "name": "strpos(name, lower({value})) > 0",
    "owner": "owner",
    "tag": "spec -> 'tags' ? {value}",
    "template_id": "template ->> 'template_id'",
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

PIPELINES = NamedRows("pipelines", "pipeline")


class PipelineQueriesServicer(rpc.PipelineQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetPipeline(self, request: Any, context: Any) -> Any:
        row = await PIPELINES.get(self._read, request)
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
                raise await PIPELINES.lacks(db, f"version {request.version}", request.pipeline_id, options["as_of"])
        return pb.GetPipelineVersionResponse(version=_message(row, types.PipelineVersion))

    async def ListPipelineVersions(self, request: Any, context: Any) -> Any:
        page = await PIPELINES.page(self._read, _VERSIONS, request, "give the pipeline whose versions are wanted")
        found = [_message(row, types.PipelineVersion) for row in page.rows]
        return pb.ListPipelineVersionsResponse(versions=found, next_cursor=page.next_cursor)


def _message(row: Any, kind: Any) -> Any:
    return to_message(dict(row), kind)
