"""Answers about backfills and missed promises, from the projection's tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events.language.convert import to_message
from events.queries.listing import INT4, Listing
from events.queries.queries import ReadModel
from forgelog_pb.pipelines.v1 import clock_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import clock_queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types
from services.pipelines.queries import PIPELINES

_BACKFILLS = Listing(
    pb.ListBackfillsRequest,
    "backfills",
    order={"started_at": datetime, "pipeline_id": str, "number": INT4},
    descending=True,
    filters={"pipeline_id": "pipeline_id", "project": "project", "statuses": "status"},
)

_MISSES = Listing(
    pb.ListSlaMissesRequest,
    "sla_misses",
    order={"missed_at": datetime, "pipeline_id": str, "kind": str, "run_id": str},
    descending=True,
    filters={"pipeline_id": "pipeline_id", "project": "project", "kinds": "kind"},
)


class ClockQueriesServicer(rpc.ClockQueriesServicer):
    def __init__(self, read: ReadModel) -> None:
        self._read = read

    async def ListBackfills(self, request: Any, context: Any) -> Any:
        rows, cursor = await self._page(_BACKFILLS, request)
        found = [to_message(dict(row), types.Backfill) for row in rows]
        return pb.ListBackfillsResponse(backfills=found, next_cursor=cursor)

    async def ListSlaMisses(self, request: Any, context: Any) -> Any:
        rows, cursor = await self._page(_MISSES, request)
        found = [to_message(dict(row), types.SlaMiss) for row in rows]
        return pb.ListSlaMissesResponse(misses=found, next_cursor=cursor)

    async def _page(self, listing: Listing, request: Any) -> tuple[Any, str]:
        page = await PIPELINES.page(self._read, listing, request)
        return page.rows, page.next_cursor
