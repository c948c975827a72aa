"""Runs of experiments through the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from forgelog.client import packing
from forgelog.client.artifacts import FetchedArtifact, batches, get_listed, list_files, put_files
from forgelog.client.bundles import Progress
from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT, lifecycle
from forgelog.client.frames import Curves, Rows
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import ExperimentRunRow, MetricRow, PointRow, PointsDigest, RunArtifactRow
from forgelog.client.run_data import with_data
from forgelog.client.words import enum_words, several
from forgelog_pb.experiments.v1 import artifact_queries_pb2 as artifact_pb
from forgelog_pb.experiments.v1 import artifact_queries_pb2_grpc as artifact_rpc
from forgelog_pb.experiments.v1 import points_pb2
from forgelog_pb.experiments.v1 import points_queries_pb2 as points_pb
from forgelog_pb.experiments.v1 import points_queries_pb2_grpc as points_rpc
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from forgelog_pb.experiments.v1 import queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import registry_queries_pb2 as registry_pb
from forgelog_pb.experiments.v1 import registry_queries_pb2_grpc as registry_rpc
from forgelog_pb.experiments.v1 import types_pb2 as types
from forgelog_pb.gateway.v1 import points_pb2 as gateway_pb
from forgelog_pb.gateway.v1 import points_pb2_grpc as gateway_rpc


class AsyncRuns(Namespace):
    """Runs: `forgelog.experiments.v1.ExperimentQueries`, and the commands on them."""

    @property
    def _stub(self) -> Any:
        return rpc.ExperimentQueriesStub(self._core.channel)

    @property
    def _artifacts(self) -> Any:
        return artifact_rpc.ArtifactQueriesStub(self._core.channel)

    async def create(self, experiment: str = "", *, experiment_id: str = "", id: str = "", **fields: Any) -> str:
        """Begin a run of an experiment, by name (made if there is none of it) or by id; the run's id.

        `fields` are those of `CreateRun`, such as `name`, `params`, `tags`, `hyperparameters`, `process`. Raises
        `Refused`, also when the experiment takes no runs."""
        body = {"run_id": id, "experiment": experiment, "experiment_id": experiment_id, **fields}
        outcome = await self._core.publish((f"forgelog.{CONTEXT}.v1.CreateRun", body), wait="conclusion")
        return str(outcome.subject)

    async def log(
        self, id: str, *, params: Mapping[str, Any] | None = None, tags: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Give a run parameters and tags. A parameter keeps its first value; a tag that is None goes.

        Raises `Refused`."""
        said = {key: str(value) for key, value in (params or {}).items()}
        return await self._send("LogRunData", id, params=said, tags=dict(tags or {}))

    async def end(self, id: str, status: str = "finished", *, reason: str = "") -> Answer:
        """Say how it ended: finished, failed or killed. Raises `Refused`."""
        return await self._send("EndRun", id, status=status, reason=reason)

    async def stop(self, id: str, *, reason: str = "") -> Answer:
        """Cancel the job that it is a process of; one that waits to be launched ends at once. Raises `Refused`."""
        return await self._send("StopRun", id, reason=reason)

    async def resume(self, id: str) -> Answer:
        """Go on with a run that has ended. Raises `Refused`."""
        return await self._send("ResumeRun", id)

    async def rename(self, id: str, name: str) -> Answer:
        """Give it another name. Raises `Refused`."""
        return await self._send("RenameRun", id, name=name)

    async def delete(self, id: str) -> Answer:
        """Take it out of the lists; it can be restored. Raises `Refused`."""
        return await self._send("DeleteRun", id)

    async def restore(self, id: str) -> Answer:
        """Bring a deleted one back. Raises `Refused`."""
        return await self._send("RestoreRun", id)

    async def get(self, id: str, *, at: datetime | None = None) -> ExperimentRunRow:
        """One run, with its `params`, `tags`, `metrics` (key → the last value, of the run's own) and `inputs`; once it
        has ended, its `checks`: how it does by its experiment's practices. Raises `NotFound`."""
        request = pb.GetRunRequest(run_id=id, options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetRun, request, f"run {id}")
        return with_data(plain(answer), checks=[plain(each) for each in answer.checks])

    async def search(
        self,
        filter: str = "",
        *,
        project: str = "",
        experiments: Iterable[str] = (),
        order_by: Iterable[str] = (),
        visible_to: str = "",
        deleted: bool | None = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> Rows[ExperimentRunRow]:
        """Runs that a filter lets through, with `params`, `tags`, `metrics` and `inputs` as in `get`, those
        that began last first.

        `filter`: such as ``params.depth = '3' and (tags.team like 'vis%' or status = 'failed')``. `order_by`: such as
        ``["params.depth asc", "started_at desc"]``. `experiments`, `deleted`: as in `list`. Raises `Refused`, which
        names the character at which a filter or an order is wrong."""
        request = pb.SearchRunsRequest(
            project=project,
            experiment_ids=several(experiments),
            filter=filter,
            order_by=several(order_by),
            visible_to=visible_to,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        found = await self._core.pages(self._stub.SearchRuns, request, "runs", CONTEXT, limit)
        return Rows(map(with_data, found))

    async def watch(
        self, ids: Iterable[str] = (), *, project: str = "", experiment_id: str = ""
    ) -> AsyncIterator[ExperimentRunRow]:
        """Runs as they are now, and each again whenever it has changed. Has no end."""
        wanted = several(ids)

        def request() -> Any:
            options = self._core.options(CONTEXT, None)
            return pb.WatchRunsRequest(run_ids=wanted, project=project, experiment_id=experiment_id, options=options)

        async for answer in self._core.connection.resumed(self._stub.WatchRuns, request, what="watch"):
            yield cast("ExperimentRunRow", plain(answer.run))

    # Metrics

    async def log_metrics(
        self,
        id: str,
        metrics: Mapping[str, float],
        *,
        step: int = 0,
        time: datetime | None = None,
        model_id: str = "",
        dataset: str = "",
    ) -> None:
        """Log a value of each of these metrics at a step; `time`: now if left out. Returns when the log has them.

        Logging a point again changes nothing. Raises `Refused` and `NotFound`."""
        at = packing.now() if time is None else packing.milliseconds(time, "time")
        batch = points_pb2.PointBatch(run_id=id)
        for key, value in metrics.items():
            columns = next(packing.pieces([step], [at], [value]))
            batch.series.add(key=key, model_id=model_id, dataset=dataset, **columns)
        await self._log(batch)

    async def log_points(
        self,
        id: str,
        key: str,
        values: Sequence[float],
        *,
        steps: Sequence[int] | None = None,
        times: Sequence[int] | None = None,
        model_id: str = "",
        dataset: str = "",
    ) -> None:
        """Log many points of one metric. `steps`: 0, 1, 2 ... if left out; `times`: milliseconds since 1970, now if
        left out. Returns when the log has them. Raises `Refused` and `NotFound`."""
        steps = range(len(values)) if steps is None else steps
        times = [packing.now()] * len(values) if times is None else times
        for columns in packing.pieces(steps, times, values):
            batch = points_pb2.PointBatch(run_id=id)
            batch.series.add(key=key, model_id=model_id, dataset=dataset, **columns)
            await self._log(batch)

    async def log_series(self, id: str, series: Iterable[tuple[str, str, Mapping[str, bytes]]]) -> None:
        """Log points of several metrics at once, at most 10,000: of each its key, its data set (or nothing) and its
        columns `steps`, `times` and `values` (`forgelog.client.packing.pieces`). Returns when the log has them. Raises
        `Refused` and `NotFound`."""
        batch = points_pb2.PointBatch(run_id=id)
        for key, dataset, columns in series:
            batch.series.add(key=key, dataset=dataset, **columns)
        await self._log(batch)

    async def metrics(
        self, ids: Iterable[str], *, keys: Iterable[str] = (), at: datetime | None = None
    ) -> Rows[MetricRow]:
        """The metrics of runs: the last value of each series, its extremes and counts. `keys`: of these only. Raises
        `NotFound`."""
        request = points_pb.ListMetricsRequest(
            run_ids=several(ids), keys=several(keys), options=self._core.options(CONTEXT, at)
        )
        answer = await self._core.ask(self._points.ListMetrics, request, "metrics")
        return Rows(cast("MetricRow", plain(each)) for each in answer.metrics)

    async def curves(
        self,
        ids: Iterable[str],
        *,
        keys: Iterable[str] = (),
        axis: str = "step",
        width: int = 500,
        first: int | None = None,
        last: int | None = None,
        at: datetime | None = None,
    ) -> Curves:
        """Curves to draw, with `steps`, `times` (milliseconds since 1970) and `values`: of `width` pixels, each with
        its first, smallest, largest and last point. `axis`: step or time; `first`, `last`: its range. Raises
        `NotFound`."""
        (word,) = enum_words(points_pb.Axis.DESCRIPTOR, (axis,), "axis") if axis != "step" else (None,)
        request = points_pb.GetCurvesRequest(
            run_ids=several(ids),
            keys=several(keys),
            axis=word,
            width=width,
            first=first,
            last=last,
            options=self._core.options(CONTEXT, at),
        )
        answer = await self._core.ask(self._points.GetCurves, request, "curves")
        return Curves(plain(each) for each in answer.curves)

    async def points(
        self,
        id: str,
        key: str,
        *,
        model_id: str = "",
        dataset: str = "",
        first: int | None = None,
        last: int | None = None,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> Rows[PointRow]:
        """All points of a series, or the first `limit`, by step, time and value; of steps from `first` to `last`.
        Raises `NotFound`."""
        request = points_pb.ListPointsRequest(
            run_id=id,
            key=key,
            model_id=model_id,
            dataset=dataset,
            first_step=first,
            last_step=last,
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._points.ListPoints, request, "points", CONTEXT, limit)

    async def digest(self, id: str, *, at: datetime | None = None, complete: bool = False) -> PointsDigest:
        """How many points a run has, and their digest: the same wherever the same points are. `complete`: once all
        that the log has of it now can be read, whoever logged it. Raises `NotFound`, `Unavailable`."""
        options = self._core.options(CONTEXT, at)
        request = points_pb.GetPointsDigestRequest(run_id=id, options=options, complete=complete)
        answer = await self._core.ask(self._points.GetPointsDigest, request, f"run {id}")
        return cast("PointsDigest", plain(answer))

    async def _log(self, batch: Any) -> None:
        stub: Any = gateway_rpc.PointsStub(self._core.channel)
        answer = await self._core.ask(stub.Log, gateway_pb.LogRequest(batch=batch), f"run {batch.run_id}")
        self._core.wrote([answer.position])

    @property
    def _points(self) -> Any:
        return points_rpc.PointQueriesStub(self._core.channel)

    async def log_artifact(
        self, id: str, file: str | Path, *, folder: str = "", progress: Progress | None = None
    ) -> int:
        """As `log_artifacts`, but a folder keeps its name: ``model`` becomes ``model/weights.pt``."""
        return await self._put(id, file, folder, True, progress)

    async def log_artifacts(
        self,
        id: str,
        source: str | Path | Mapping[str, Path],
        *,
        folder: str = "",
        progress: Progress | None = None,
    ) -> int:
        """Log what is in a folder, or a file, or files by the paths that they are to have, into a folder of the run
        (its own one if empty); how many files.

        Bytes that the platform has already are not sent again. A file that the run has by that path is replaced; what
        it had before stays in the history. Raises `Refused`, `InvalidInput`, `Unavailable`."""
        return await self._put(id, source, folder, False, progress)

    async def _put(
        self, id: str, source: str | Path | Mapping[str, Path], folder: str, named: bool, progress: Progress | None
    ) -> int:
        given = Path(source) if isinstance(source, str) else source
        files = await put_files(self._core, given, folder, named=named, progress=progress)
        for batch in batches(files):
            await self._send("LogArtifacts", id, artifacts=batch)
        return len(files)

    async def log_inputs(self, id: str, inputs: Iterable[Mapping[str, Any]]) -> Answer:
        """Say which datasets a run reads: `name` and `digest` of each, and `role`, `source` and the like if known. A
        registered version with both is the same dataset. Raises `Refused`."""
        return await self._send("LogInputs", id, inputs=[dict(each) for each in inputs])

    async def inputs(self, id: str, *, at: datetime | None = None) -> list[Answer]:
        """The datasets that a run reads. Raises `NotFound`."""
        request = registry_pb.GetRunInputsRequest(run_id=id, options=self._core.options(CONTEXT, at))
        stub: Any = registry_rpc.RegistryQueriesStub(self._core.channel)
        answer = await self._core.ask(stub.GetRunInputs, request, f"run {id}")
        return [plain(each) for each in answer.inputs]

    async def remove_artifacts(self, id: str, paths: Iterable[str]) -> Answer:
        """Take files, or whole folders, out of a run; they stay in its history. Raises `Refused`."""
        return await self._send("RemoveArtifacts", id, paths=several(paths))

    async def artifact(self, id: str, path: str = "", *, at: datetime | None = None) -> RunArtifactRow:
        """A file or a folder of a run. Raises `NotFound`."""
        request = artifact_pb.GetArtifactRequest(run_id=id, path=path, options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._artifacts.GetArtifact, request, f"{path or 'files'} of run {id}")
        return cast("RunArtifactRow", plain(answer.artifact))

    async def artifacts(
        self,
        id: str,
        path: str = "",
        *,
        recursive: bool = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> Rows[RunArtifactRow]:
        """What is in a folder of a run (its own one if `path` is empty), by path. `recursive`: all files at any depth,
        and no folders. Raises `NotFound` if there is no such run."""
        return await list_files(self._core, path, recursive=recursive, at=at, limit=limit, run_id=id)

    async def download_artifacts(
        self,
        id: str,
        path: str = "",
        *,
        into: str | Path = ".",
        force: bool = False,
        at: datetime | None = None,
        progress: Progress | None = None,
    ) -> list[FetchedArtifact]:
        """Fetch a file or a folder of a run (all of it if `path` is empty) into a folder, with the paths that they have
        in the run. What is there already is left; other content is replaced only by `force`.

        Raises `NotFound`, `InvalidInput`, `Unavailable`."""
        rows = await self.artifacts(id, path, recursive=True, at=at)
        missing = f"run {id} has no {path or 'files'}; `forgelog runs artifacts` shows what it has"
        return await get_listed(self._core, rows, missing, Path(into), force=force, progress=progress)

    async def see_all(self, id: str) -> None:
        """From here on this client sees all that anybody has logged of a run by now, such as its program. Raises
        `Refused`."""
        await self._send("LogRunData", id)  # changes nothing, and has its place behind all that was logged before

    async def _send(self, kind: str, id: str, **fields: Any) -> Answer:
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{kind}", {"run_id": id, **fields}))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        experiments: Iterable[str] = (),
        status: Iterable[str] = (),
        name: str = "",
        owner: str = "",
        job: str = "",
        parent: str = "",
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        filter: str = "",
        visible_to: str = "",
        deleted: bool | None = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> Rows[ExperimentRunRow]:
        """Runs, those that began last first. `experiments`: their ids. `filter`: as in `search`. `deleted`: only those
        that are; None: those too."""
        request = pb.ListRunsRequest(
            project=project,
            experiment_ids=several(experiments),
            statuses=enum_words(types.RunStatus.DESCRIPTOR, status, "status"),
            name=name,
            owner=owner,
            job_id=job,
            parent_run_id=parent,
            params=params or {},
            tags=tags or {},
            filter=filter,
            visible_to=visible_to,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListRuns, request, "runs", CONTEXT, limit)
