"""`forgelog.pipelines.v1.WorkQueries`: what workers ask while they work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from events.queries.queries import QueryError, invalid
from forgelog_pb.pipelines.v1 import work_pb2 as pb
from forgelog_pb.pipelines.v1 import work_pb2_grpc as rpc
from services.pipelines.work_orders import Broken, NoCursor, WorkOrders


class WorkQueriesServicer(rpc.WorkQueriesServicer):
    def __init__(self, orders: WorkOrders) -> None:
        self._orders = orders

    async def FollowWork(self, request: Any, _: Any) -> AsyncIterator[Any]:
        for name in ("pipeline_id", "worker"):
            if not getattr(request, name):
                raise invalid(f"{name}: is empty; give the one that FORGELOG_WORKER of the worker's process names")
        try:
            async with aclosing(self._orders.follow(request.pipeline_id, request.worker, request.cursor)) as following:
                async for told in following:
                    answer = pb.FollowWorkResponse(cursor=told.cursor)
                    if told.event is not None:
                        answer.type, answer.data = type(told.event).type_name(), told.event.to_json()
                    yield answer
        except NoCursor as error:
            raise invalid(str(error)) from None
        except Broken as error:
            raise QueryError(grpc.StatusCode.UNAVAILABLE, f"{error}; ask again") from None
