"""Answers about what runs ran, from the projection's tables. Knows no object store."""

from __future__ import annotations

from typing import Any

from events.language.convert import to_message
from events.queries.queries import ReadModel, not_found, read_options
from forgelog_pb.experiments.v1 import capture_queries_pb2 as pb
from forgelog_pb.experiments.v1 import capture_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types


class CaptureQueriesServicer(rpc.CaptureQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def GetRunCapture(self, request: Any, context: Any) -> Any:
        options, id = read_options(request.options), request.run_id
        async with self._read.view(**options) as db:
            row = await db.fetchrow("select * from run_captures where run_id = $1", id)
            if row is None and await db.fetchval("select 1 from runs where run_id = $1", id) is None:
                raise not_found("run", id, options["as_of"])
        if row is None:
            raise not_found("capture of run", id, options["as_of"])
        return pb.GetRunCaptureResponse(captured=to_message(dict(row), types.CapturedRun))
