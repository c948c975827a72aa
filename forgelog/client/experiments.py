"""Experiments through the client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from forgelog.client.core import Namespace
from forgelog.client.frames import Rows
from forgelog.client.job_spec import spec_of
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import ExperimentRow
from forgelog.client.words import enum_words, several
from forgelog_pb.experiments.v1 import queries_pb2 as pb
from forgelog_pb.experiments.v1 import queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types

CONTEXT = "experiments"


def lifecycle(deleted: bool | None) -> Any:
    """What a list shows: what is not deleted, only what is, or (None) both."""
    if deleted is None:
        return pb.LIFECYCLE_ALL
    return pb.LIFECYCLE_DELETED if deleted else pb.LIFECYCLE_UNSPECIFIED


class AsyncExperiments(Namespace):
    """Experiments: `forgelog.experiments.v1.ExperimentQueries`, and the commands on them."""

    @property
    def _stub(self) -> Any:
        return rpc.ExperimentQueriesStub(self._core.channel)

    async def create(
        self,
        name: str,
        *,
        id: str = "",
        job: Mapping[str, Any] | str | Path | None = None,
        parallel: int = 0,
        **fields: Any,
    ) -> str:
        """Make an experiment; its id. `job`: what its launched runs run, as `jobs.submit` takes it; `parallel`: how
        many of them at a time, 0 for any number. `fields` are those of `CreateExperiment`, such as `description`,
        `framework`, `hyperparameters`, `tags`. Raises `Refused`; for a job `ManifestError`, `InvalidInput`."""
        if job is not None or parallel:
            fields["launch"] = {**await self._job(job), "parallel": parallel}
        outcome = await self._send("CreateExperiment", {"experiment_id": id, "name": name, **fields})
        return str(outcome.subject)

    async def update(
        self,
        id: str,
        *,
        job: Mapping[str, Any] | str | Path | None = None,
        parallel: int | None = None,
        **fields: Any,
    ) -> Answer:
        """Change an experiment; what is left out stays. `job`, `parallel`: as in `create`. `fields` are those of
        `UpdateExperiment`. Raises `Refused`, `NotFound`; for a job `ManifestError`, `InvalidInput`."""
        if job is not None or parallel is not None:
            known: Any = (await self.get(id)).launch
            kept = {name: value for name, value in known.items() if value}
            more = {} if parallel is None else {"parallel": parallel}
            fields["launch"] = {**kept, **await self._job(job), **more}
        return await self._send("UpdateExperiment", {"experiment_id": id, **fields})

    async def launch(
        self,
        experiment: str = "",
        *,
        experiment_id: str = "",
        id: str = "",
        job: Mapping[str, Any] | str | Path | None = None,
        params: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        """Begin a run, and let the platform submit the job that it is, when the experiment (by name, made if there is
        none of it, or by id) has room for it; the run's id. `job`: as `jobs.submit` takes it; left out: what the
        experiment says. `params`: kept as text. `fields` are those of `LaunchRun`, such as `name`, `tags`. Raises
        `Refused`, also when the experiment takes no runs; for a job `ManifestError`, `InvalidInput`."""
        said = {key: str(value) for key, value in (params or {}).items()}
        body = {"run_id": id, "experiment": experiment, "experiment_id": experiment_id, "params": said, **fields}
        command = (f"forgelog.{CONTEXT}.v1.LaunchRun", {**body, **await self._job(job)})
        return str((await self._core.publish(command, wait="conclusion")).subject)

    async def _job(self, job: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
        return {} if job is None else {"job": await spec_of(self._core, job, "run", "run")}

    async def set_status(self, id: str, status: str, *, reason: str = "") -> Answer:
        """Say how it stands: running, paused, completed, failed or archived. Raises `Refused`."""
        return await self._send("SetExperimentStatus", {"experiment_id": id, "status": status, "reason": reason})

    async def delete(self, id: str) -> Answer:
        """Take it out of the lists. It keeps its name, and can be restored. Raises `Refused`."""
        return await self._send("DeleteExperiment", {"experiment_id": id})

    async def restore(self, id: str) -> Answer:
        """Bring a deleted one back. Raises `Refused`."""
        return await self._send("RestoreExperiment", {"experiment_id": id})

    async def get(
        self, id: str = "", *, name: str = "", project: str = "", at: datetime | None = None
    ) -> ExperimentRow:
        """One experiment, by its id, or by its name in a project (the client's own if left out), with its `runs` by
        status, the `job_ids` of those that run, and the number of `model_versions` that they made. Raises
        `NotFound`."""
        request = pb.GetExperimentRequest(
            experiment_id=id,
            name=name,
            project="" if id else project or self._core.own_project,
            options=self._core.options(CONTEXT, at),
        )
        answer = await self._core.ask(self._stub.GetExperiment, request, f"experiment {id or name}")
        more = {name: getattr(plain(answer), name) for name in ("runs", "job_ids", "model_versions")}
        return ExperimentRow({**plain(answer.experiment), **more})

    async def search(
        self,
        filter: str = "",
        *,
        project: str = "",
        order_by: Iterable[str] = (),
        visible_to: str = "",
        deleted: bool | None = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> Rows[ExperimentRow]:
        """Experiments that a filter lets through, newest first. `filter`: such as ``tags.team = 'vision' and name like
        'digits%'``. `order_by`: such as ``["name asc"]``. Raises `Refused`, which names the character at which a
        filter or an order is wrong."""
        request = pb.SearchExperimentsRequest(
            project=project,
            filter=filter,
            order_by=several(order_by),
            visible_to=visible_to,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.SearchExperiments, request, CONTEXT, CONTEXT, limit)

    async def _send(self, kind: str, body: Mapping[str, Any]) -> Answer:
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{kind}", dict(body)))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        status: Iterable[str] = (),
        name: str = "",
        owner: str = "",
        team: str = "",
        framework: Iterable[str] = (),
        type: str = "",
        labels: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        visible_to: str = "",
        deleted: bool | None = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> Rows[ExperimentRow]:
        """Experiments, newest first. `name`: a part of it. `deleted`: only those that are; None: those too."""
        request = pb.ListExperimentsRequest(
            project=project,
            statuses=enum_words(types.ExperimentStatus.DESCRIPTOR, status, "status"),
            name=name,
            owner=owner,
            team=team,
            frameworks=enum_words(types.ModelFramework.DESCRIPTOR, framework, "framework"),
            experiment_type=type,
            labels=several(labels),
            tags=tags or {},
            visible_to=visible_to,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListExperiments, request, CONTEXT, CONTEXT, limit)
