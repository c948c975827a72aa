"""Answers about the seals of runs' points, and holds what is stored against them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from blake3 import blake3

from events.language.convert import to_message
from events.language.experiments.sealing import SealedPoints
from events.language.objects import ObjectRef
from events.queries.queries import ReadModel, not_found, read_options
from forgelog_pb.experiments.v1 import seal_queries_pb2 as pb
from forgelog_pb.experiments.v1 import seal_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from forgelog_pb.query.v1 import options_pb2
from services.experiments.points.answering import PointReader
from services.experiments.purged import gone, purged_among


class SealQueriesServicer(rpc.SealQueriesServicer):
    def __init__(self, read: ReadModel, points: PointReader) -> None:
        self._read = read
        self._points = points

    async def GetRunSeal(self, request: Any, context: Any) -> Any:
        id = request.run_id
        async with self._read.view(**read_options(request.options)) as db:
            for purged_at in (await purged_among(db, [id])).values():
                raise gone("run", id, purged_at)
            row = await db.fetchrow("select * from run_seals where run_id = $1", id)
            if row is None and await db.fetchval("select 1 from runs where run_id = $1", id) is None:
                raise not_found("run", id, None)
        if row is None:
            raise not_found("seal of run", id, None)
        answer = pb.GetRunSealResponse(seal=to_message(dict(row), types.RunSeal))
        sealed = SealedPoints.model_validate(row["sealed"])
        async with self._points.tables([id], options_pb2.ReadOptions()) as tables:
            there = sum(each.tally.count for each in await tables.series([id]))
        if request.verify:
            found = await self._found(id, sealed.arrived_to)
            answer.found.CopyFrom(to_message(found, types.SealedPoints))
            answer.intact = found == sealed
        answer.late_points = max(there - sealed.points, 0)
        return answer

    async def _found(self, run: str, arrived_to: datetime | None) -> SealedPoints:
        """What is stored of the points that had come by then."""
        from services.experiments.points.sealed import sealable

        async with self._points.arrived_by(arrived_to) as tables:
            fields, summary = await sealable(tables, run)
        ref = ObjectRef(digest=blake3(summary).hexdigest(), size=len(summary)) if summary else None
        return SealedPoints(**fields, summary=ref)
