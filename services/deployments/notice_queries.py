"""What became of what people were told of deployments."""

from __future__ import annotations

from typing import Any

from events.notices.queries import NoticeList
from events.process.settings import Settings
from events.queries.queries import ReadModel
from forgelog_pb.deployments.v1 import notice_queries_pb2 as pb
from forgelog_pb.deployments.v1 import notice_queries_pb2_grpc as rpc


class DeploymentNoticeQueriesServicer(rpc.DeploymentNoticeQueriesServicer):
    def __init__(self, read: ReadModel, settings: Settings) -> None:
        self._list = NoticeList(read, settings, pb.ListDeploymentNoticesRequest)

    async def ListDeploymentNotices(self, request: Any, context: Any) -> Any:
        found, cursor = await self._list.page(request)
        return pb.ListDeploymentNoticesResponse(notices=found, next_cursor=cursor)
