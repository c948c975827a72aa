"""What came of runs, and what they used, through the client."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import RunResultsAnswer
from forgelog_pb.experiments.v1 import result_queries_pb2 as pb
from forgelog_pb.experiments.v1 import result_queries_pb2_grpc as rpc


class AsyncResults(Namespace):
    """Results of runs: `forgelog.experiments.v1.ResultQueries`, and the command that names the best checkpoint."""

    async def get(self, run: str, *, at: datetime | None = None) -> RunResultsAnswer:
        """What came of a run (last values of metrics, best checkpoint, versions of models) and what it used: hours and
        estimated cost. Raises `NotFound`."""
        stub: Any = rpc.ResultQueriesStub(self._core.channel)
        request = pb.GetRunResultsRequest(run_id=run, options=self._core.options(CONTEXT, at))
        return cast("RunResultsAnswer", plain(await self._core.ask(stub.GetRunResults, request, f"run {run}")))

    async def set_best_checkpoint(self, run: str, path: str) -> Answer:
        """Say which file or folder of a run is its best checkpoint. Raises `Refused`, also if the run has none such."""
        body = {"run_id": run, "path": path}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.SetBestCheckpoint", body))
