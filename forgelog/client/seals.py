"""Seals of runs' points, through the client."""

from __future__ import annotations

from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT
from forgelog.client.plain import plain
from forgelog.client.rows import RunSealAnswer
from forgelog_pb.experiments.v1 import seal_queries_pb2 as pb
from forgelog_pb.experiments.v1 import seal_queries_pb2_grpc as rpc


class AsyncSeals(Namespace):
    """Seals of runs' points: `forgelog.experiments.v1.SealQueries`."""

    async def get(self, run: str) -> RunSealAnswer:
        """The newest seal of a run: `seal` with `sealed` (series, points, digest, arrived_to), and `late_points`, which
        came after it. Raises `NotFound`, also for a run that is not sealed yet."""
        return await self._ask(run, False)

    async def verify(self, run: str) -> RunSealAnswer:
        """As `get`, with what is stored of the sealed points (`found`), counted and hashed anew, and whether that is
        what was sealed (`intact`). Raises `NotFound`."""
        return await self._ask(run, True)

    async def _ask(self, run: str, verify: bool) -> RunSealAnswer:
        stub: Any = rpc.SealQueriesStub(self._core.channel)
        request = pb.GetRunSealRequest(run_id=run, verify=verify, options=self._core.options(CONTEXT, None))
        return cast("RunSealAnswer", plain(await self._core.ask(stub.GetRunSeal, request, f"run {run}")))
