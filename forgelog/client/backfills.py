"""Backfills of pipelines and promises that were not kept, through the client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from forgelog.client.core import Namespace
from forgelog.client.pipeline_ids import pipeline_id
from forgelog.client.plain import Answer
from forgelog.client.rows import BackfillRow, SlaMissRow
from forgelog.client.words import enum_words
from forgelog_pb.pipelines.v1 import clock_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import clock_queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types

CONTEXT = "pipelines"


class AsyncBackfills(Namespace):
    """Backfills and missed promises: `forgelog.pipelines.v1.ClockQueries`, and the commands on them.

    A `pipeline` is its name in the client's project, or its id.
    """

    @property
    def _stub(self) -> Any:
        return rpc.ClockQueriesStub(self._core.channel)

    async def start(
        self,
        pipeline: str,
        since: datetime,
        until: datetime,
        *,
        max_parallel: int = 1,
        rerun: str = "missing",
        parameters: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> int:
        """Run a pipeline for the intervals of its schedule from `since` to `until`; the backfill's number. `rerun`:
        ``missing`` (those without a run that ended), ``failed`` (those that were not completed) or ``all``. Raises
        `Refused`."""
        said = {
            "range_start": since.isoformat(),
            "range_end": until.isoformat(),
            "max_parallel": max_parallel,
            "rerun": rerun,
        }
        await self._send("StartBackfill", pipeline, **said, parameters=dict(parameters or {}), note=note)
        newest = await self.list(pipeline, limit=1)
        return int(newest[0].number)

    async def cancel(self, pipeline: str, number: int, *, reason: str = "") -> Answer:
        """Start no further run of a backfill, and cancel those that have not ended. Raises `Refused`."""
        return await self._send("CancelBackfill", pipeline, number=number, reason=reason)

    async def misses(
        self,
        pipeline: str = "",
        *,
        project: str = "",
        kind: Iterable[str] = (),
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[SlaMissRow]:
        """Promises that were not kept, newest first; of all pipelines where none is given. Raises `NotFound`."""
        request = pb.ListSlaMissesRequest(
            pipeline_id=self._id(pipeline),
            project=project,
            kinds=enum_words(types.SlaKind.DESCRIPTOR, kind, "kind"),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListSlaMisses, request, "misses", "missed promises", limit)

    def _id(self, pipeline: str) -> str:
        return pipeline_id(pipeline, self._core.own_project) if pipeline else ""

    async def _send(self, command: str, pipeline: str, **fields: Any) -> Answer:
        body = {"pipeline_id": self._id(pipeline), **fields}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{command}", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        pipeline: str = "",
        *,
        project: str = "",
        status: Iterable[str] = (),
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[BackfillRow]:
        """Backfills, newest first; of all pipelines where none is given. Raises `NotFound`."""
        request = pb.ListBackfillsRequest(
            pipeline_id=self._id(pipeline),
            project=project,
            statuses=enum_words(types.BackfillStatus.DESCRIPTOR, status, "status"),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListBackfills, request, "backfills", "backfills", limit)
