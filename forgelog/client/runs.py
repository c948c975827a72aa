"""Runs of experiments through the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT, lifecycle
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import ExperimentRunRow
from forgelog.client.words import enum_words
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from forgelog_pb.experiments.v1 import queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types


class AsyncRuns(Namespace):
    """Runs: `forgelog.experiments.v1.ExperimentQueries`, and the commands on them."""

    @property
    def _stub(self) -> Any:
        return rpc.ExperimentQueriesStub(self._core.channel)

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
        """One run, with its `params` and `tags`. Raises `NotFound`."""
        request = pb.GetRunRequest(run_id=id, options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetRun, request, f"run {id}")
        found = {**plain(answer.run), "params": dict(answer.params), "tags": dict(answer.tags)}
        return cast("ExperimentRunRow", found)

    async def search(
        self,
        filter: str = "",
        *,
        project: str = "",
        experiments: Iterable[str] = (),
        order_by: Iterable[str] = (),
        deleted: bool | None = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[ExperimentRunRow]:
        """Runs that a filter lets through, with their `params` and `tags`, those that began last first.

        `filter`: such as ``params.depth = '3' and (tags.team like 'vis%' or status = 'failed')``. `order_by`: such as
        ``["params.depth asc", "started_at desc"]``. `experiments`, `deleted`: as in `list`. Raises `Refused`, which
        names the character at which a filter or an order is wrong."""
        request = pb.SearchRunsRequest(
            project=project,
            experiment_ids=experiments,
            filter=filter,
            order_by=order_by,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        found = await self._core.pages(self._stub.SearchRuns, request, "runs", CONTEXT, limit)
        rows = [{**row["run"], "params": row["params"], "tags": row["tags"]} for row in found]
        return cast("list[ExperimentRunRow]", rows)

    async def watch(
        self, ids: Iterable[str] = (), *, project: str = "", experiment_id: str = ""
    ) -> AsyncIterator[ExperimentRunRow]:
        """Runs as they are now, and each again whenever it has changed. Has no end."""
        wanted = list(ids)

        def request() -> Any:
            options = self._core.options(CONTEXT, None)
            return pb.WatchRunsRequest(run_ids=wanted, project=project, experiment_id=experiment_id, options=options)

        async for answer in self._core.connection.resumed(self._stub.WatchRuns, request, what="watch"):
            yield cast("ExperimentRunRow", plain(answer.run))

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
        deleted: bool | None = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[ExperimentRunRow]:
        """Runs, those that began last first. `experiments`: their ids. `filter`: as in `search`. `deleted`: only those
        that are; None: those too."""
        request = pb.ListRunsRequest(
            project=project,
            experiment_ids=experiments,
            statuses=enum_words(types.RunStatus.DESCRIPTOR, status, "status"),
            name=name,
            owner=owner,
            job_id=job,
            parent_run_id=parent,
            params=params or {},
            tags=tags or {},
            filter=filter,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListRuns, request, "runs", CONTEXT, limit)
