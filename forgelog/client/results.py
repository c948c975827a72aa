"""What came of runs and experiments, and what they used, through the client."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import ExperimentResultsAnswer, RunResultsAnswer
from forgelog_pb.experiments.v1 import result_queries_pb2 as pb
from forgelog_pb.experiments.v1 import result_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types


class AsyncResults(Namespace):
    """Results of runs and experiments: `forgelog.experiments.v1.ResultQueries`, and the command that names the
    best checkpoint."""

    async def get(self, run: str, *, at: datetime | None = None) -> RunResultsAnswer:
        """What came of a run (last values of metrics, best checkpoint, versions of models) and what it used: hours and
        estimated cost. Raises `NotFound`."""
        stub: Any = rpc.ResultQueriesStub(self._core.channel)
        request = pb.GetRunResultsRequest(run_id=run, options=self._core.options(CONTEXT, at))
        return cast("RunResultsAnswer", plain(await self._core.ask(stub.GetRunResults, request, f"run {run}")))

    async def of_experiment(
        self, experiment: str, metric: str = "", *, minimize: bool = False, at: datetime | None = None
    ) -> ExperimentResultsAnswer:
        """What came of an experiment: its best run and its best version of a model, by the last values of a metric, and
        what its runs used. `minimize`: the least value is best; without a metric none is. Raises `NotFound`."""
        stub: Any = rpc.ResultQueriesStub(self._core.channel)
        request = pb.GetExperimentResultsRequest(
            experiment_id=experiment,
            metric=metric,
            direction=types.DIRECTION_MINIMIZE if minimize else types.DIRECTION_MAXIMIZE,
            options=self._core.options(CONTEXT, at),
        )
        found = await self._core.ask(stub.GetExperimentResults, request, f"experiment {experiment}")
        return cast("ExperimentResultsAnswer", plain(found))

    async def set_best_checkpoint(self, run: str, path: str) -> Answer:
        """Say which file or folder of a run is its best checkpoint; with an empty path none is. Raises `Refused`, also
        if the run has none such."""
        body = {"run_id": run, "path": path}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.SetBestCheckpoint", body))
