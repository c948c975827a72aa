"""Answers about the files of runs, from the projection's tables. Knows no object store."""

from __future__ import annotations

from typing import Any

from events.language.convert import to_message
from events.queries.listing import Listing
from events.queries.queries import ReadModel, not_found, read_options
from forgelog_pb.experiments.v1 import artifact_queries_pb2 as pb
from forgelog_pb.experiments.v1 import artifact_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types

_ROW = "run_id, path, false as is_folder, digest, size, logged_at"

_INSIDE = "run_id = $1 and ($2 = '' or starts_with(path, $2 || '/'))"
"""Of a file: it is in this folder (the run's own one is empty), at any depth."""

_FILES = f"(select {_ROW} from run_artifacts where run_id = $1 and (path = $2 or {_INSIDE})) found"
"""All files of a folder; of a file itself."""

_NEXT = "split_part(substr(path, case $2 when '' then 1 else length($2) + 2 end), '/', 1)"
"""The name of what a file is by in the folder: its own, or that of a folder in it."""

_ENTRIES = f"""(
    select {_ROW} from run_artifacts where run_id = $1 and path = $2
    union all
    select run_id, case $2 when '' then '' else $2 || '/' end || name, bool_or(is_inside),
        case when bool_or(is_inside) then '' else min(digest) end, sum(size)::bigint, max(logged_at)
    from (
        select run_id, path, digest, size, logged_at, {_NEXT} as name,
            path <> case $2 when '' then '' else $2 || '/' end || {_NEXT} as is_inside
        from run_artifacts where {_INSIDE}
    ) inside
    group by run_id, name
) found"""
"""The files and the folders of a folder; of a file itself."""

_ORDER: Any = {"path": str}
_OWN = ("run_id", "path", "recursive")
_LIST = Listing(pb.ListArtifactsRequest, _ENTRIES, order=_ORDER, own=_OWN)
_LIST_ALL = Listing(pb.ListArtifactsRequest, _FILES, order=_ORDER, own=_OWN)

_GET = f"""
    select * from (
        select {_ROW} from run_artifacts where run_id = $1 and path = $2
        union all
        select $1, $2, true, '', sum(size)::bigint, max(logged_at) from run_artifacts
        where {_INSIDE} having count(*) > 0
    ) found limit 1
"""


class ArtifactQueriesServicer(rpc.ArtifactQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetArtifact(self, request: Any, context: Any) -> Any:
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            row = await db.fetchrow(_GET, request.run_id, request.path)
        if row is None:
            raise not_found("file or folder", f"{request.run_id}/{request.path}", options["as_of"])
        return pb.GetArtifactResponse(artifact=_artifact(row))

    async def ListArtifacts(self, request: Any, context: Any) -> Any:
        listing = _LIST_ALL if request.recursive else _LIST
        query = listing.query(request, request.run_id, request.path)
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            page = await query.fetch(db)
            if not page.rows and await db.fetchval("select 1 from runs where run_id = $1", request.run_id) is None:
                raise not_found("run", request.run_id, options["as_of"])
        return pb.ListArtifactsResponse(artifacts=[_artifact(row) for row in page.rows], next_cursor=page.next_cursor)


def _artifact(row: Any) -> Any:
    return to_message(dict(row), types.RunArtifact)
