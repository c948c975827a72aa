"""Answers about the files of runs and of logged models, from the projection's tables. Knows no object store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from events.language.convert import to_message
from events.queries.listing import Listing
from events.queries.queries import ReadModel, invalid, not_found, read_options
from forgelog_pb.experiments.v1 import artifact_queries_pb2 as pb
from forgelog_pb.experiments.v1 import artifact_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.experiments.purged import gone, purged_among

_NEXT = "split_part(substr(path, case $2 when '' then 1 else length($2) + 2 end), '/', 1)"
"""The name of what a file is by in the folder: its own, or that of a folder in it."""

_ORDER: Any = {"path": str}
_OWN = ("run_id", "model_id", "path", "recursive")


class _Files:
    """What is asked of one table of files. `owner`: the column of what has them, whose rows are in `owners`."""

    def __init__(self, kind: str, table: str, owner: str, owners: str) -> None:
        self.kind = kind
        self.owner = owner
        self.exists = f"select 1 from {owners} where {owner} = $1"
        row = f"{owner}, path, false as is_folder, digest, size, logged_at"
        inside = f"{owner} = $1 and ($2 = '' or starts_with(path, $2 || '/'))"
        file = f"select {row} from {table} where {owner} = $1 and path = $2"
        every = f"(select {row} from {table} where {owner} = $1 and (path = $2 or {inside})) found"
        entries = f"""(
            {file}
            union all
            select {owner}, case $2 when '' then '' else $2 || '/' end || name, bool_or(is_inside),
                case when bool_or(is_inside) then '' else min(digest) end, sum(size)::bigint, max(logged_at)
            from (
                select {owner}, path, digest, size, logged_at, {_NEXT} as name,
                    path <> case $2 when '' then '' else $2 || '/' end || {_NEXT} as is_inside
                from {table} where {inside}
            ) inside
            group by {owner}, name
        ) found"""
        self.list = Listing(pb.ListArtifactsRequest, entries, order=_ORDER, own=_OWN)
        """The files and the folders of a folder; of a file itself."""
        self.list_all = Listing(pb.ListArtifactsRequest, every, order=_ORDER, own=_OWN)
        """All files of a folder, at any depth; of a file itself."""
        self.get = f"""
            select * from (
                {file}
                union all
                select $1, $2, true, '', sum(size)::bigint, max(logged_at) from {table}
                where {inside} having count(*) > 0
            ) found limit 1
        """


_OF_RUNS = _Files("run", "run_artifacts", "run_id", "runs")
_OF_MODELS = _Files("logged model", "logged_model_files", "model_id", "logged_models")


class ArtifactQueriesServicer(rpc.ArtifactQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetArtifact(self, request: Any, context: Any) -> Any:
        files, id = _asked(request)
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            await _check(db, files, id, options)
            row = await db.fetchrow(files.get, id, request.path)
        if row is None:
            raise not_found("file or folder", f"{id}/{request.path}", options["as_of"])
        return pb.GetArtifactResponse(artifact=_artifact(row))

    async def ListArtifacts(self, request: Any, context: Any) -> Any:
        files, id = _asked(request)
        listing = files.list_all if request.recursive else files.list
        query = listing.query(request, id, request.path)
        options = read_options(request.options)
        async with self._read.view(**options) as db:
            await _check(db, files, id, options)
            page = await query.fetch(db)
            if not page.rows and await db.fetchval(files.exists, id) is None:
                raise not_found(files.kind, id, options["as_of"])
        return pb.ListArtifactsResponse(artifacts=[_artifact(row) for row in page.rows], next_cursor=page.next_cursor)


async def _check(db: Any, files: _Files, id: str, options: Mapping[str, Any]) -> None:
    """Raises QueryError if it is purged. As of a time before that, it is told which files it had."""
    if options["as_of"] is None:
        for purged_at in (await purged_among(db, [id], files.kind)).values():
            raise gone(files.kind, id, purged_at)


def _asked(request: Any) -> tuple[_Files, str]:
    """Whose files, and its id. Raises QueryError."""
    if request.run_id and request.model_id:
        raise invalid("model_id: goes without run_id; ask for the files of a run, or of a logged model")
    if not request.run_id and not request.model_id:
        raise invalid("run_id: is empty; give it, or model_id")
    return (_OF_MODELS, request.model_id) if request.model_id else (_OF_RUNS, request.run_id)


def _artifact(row: Any) -> Any:
    return to_message(dict(row), types.RunArtifact)
