"""What became of what people were to be told, through the client: of alerts of deployments, and of pipelines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from forgelog.client.core import Namespace
from forgelog.client.rows import NoticeDeliveryRow
from forgelog.client.words import enum_words
from forgelog.errors import InvalidInput
from forgelog_pb.common.v1 import types_pb2 as types
from forgelog_pb.deployments.v1 import notice_queries_pb2 as deployments
from forgelog_pb.deployments.v1 import notice_queries_pb2_grpc as deployments_rpc
from forgelog_pb.pipelines.v1 import notice_queries_pb2 as pipelines
from forgelog_pb.pipelines.v1 import notice_queries_pb2_grpc as pipelines_rpc

CONTEXTS = ("deployments", "pipelines")


class AsyncNotices(Namespace):
    """Notices to people and what became of them: `DeploymentNoticeQueries` and `PipelineNoticeQueries`."""

    def _list(self, context: str) -> tuple[Any, Any]:
        """A context's request and its rpc."""
        channel = self._core.channel
        if context == "deployments":
            rpc = deployments_rpc.DeploymentNoticeQueriesStub(channel).ListDeploymentNotices
            return deployments.ListDeploymentNoticesRequest, rpc
        return pipelines.ListPipelineNoticesRequest, pipelines_rpc.PipelineNoticeQueriesStub(
            channel
        ).ListPipelineNotices

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        name: str = "",
        *,
        of: str = "",
        project: str = "",
        state: Iterable[str] = (),
        channel: str = "",
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[NoticeDeliveryRow]:
        """Each notice of the last thirty days on each of its channels, newest first: ``delivered``, ``waiting``,
        ``given_up`` or ``passed_over``. `name`: of a deployment, a pipeline or a dataset in the client's project, or
        its id. `of`: ``deployments`` or ``pipelines``; both when empty. `channel`: its name. `at`: those
        that there were then, and what is known of them now."""
        from events.log.ids import named_id

        if of and of not in CONTEXTS:
            raise InvalidInput(f"of: {of!r} has no notices; give {' or '.join(CONTEXTS)}")
        subject = named_id(name, self._core.own_project) if name and "." not in name else name
        states = enum_words(types.DeliveryState.DESCRIPTOR, state, "state")
        found: list[NoticeDeliveryRow] = []
        for context in [of] if of else CONTEXTS:
            request, rpc = self._list(context)
            asked = request(
                subject=subject,
                project=project,
                states=states,
                channel=channel,
                options=self._core.options(context, at),
            )
            found += await self._core.pages(rpc, asked, "notices", "notices", limit)
        found.sort(key=_age)
        return found if limit is None else found[:limit]


def _age(row: NoticeDeliveryRow) -> tuple[float, str, str]:
    at = row.happened_at
    return -at.timestamp() if at is not None else 0.0, row.notice_id, row.channel
