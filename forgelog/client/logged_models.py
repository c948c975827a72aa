"""Logged models through the client: models that runs made, before they have a name and versions in the registry."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from forgelog.client.artifacts import FetchedArtifact, get_listed, list_files
from forgelog.client.bundles import Progress
from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT, lifecycle
from forgelog.client.frames import Rows
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import LoggedModelRow, RunArtifactRow
from forgelog.client.words import several
from forgelog_pb.experiments.v1 import logged_models_pb2 as pb
from forgelog_pb.experiments.v1 import logged_models_pb2_grpc as rpc


class AsyncLoggedModels(Namespace):
    """Logged models: `forgelog.experiments.v1.LoggedModelQueries`, and the commands on them. Programs make them, by
    MLflow's `log_model`; `client.models.create_version` publishes what is good."""

    @property
    def _stub(self) -> Any:
        return rpc.LoggedModelQueriesStub(self._core.channel)

    async def get(self, id: str, *, at: datetime | None = None) -> LoggedModelRow:
        """A logged model, deleted or not, with its `metrics`. Raises `NotFound`."""
        request = pb.GetLoggedModelRequest(model_id=id, options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetLoggedModel, request, f"logged model {id}")
        return _with_metrics(plain(answer))

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
    ) -> Rows[LoggedModelRow]:
        """Logged models that a filter lets through, with their `metrics`, newest first. `filter`: such as ``name =
        'digits' and metrics.accuracy > 0.9``. `order_by`: such as ``["metrics.accuracy desc"]``. `experiments`: of any
        of these, by their ids. `deleted`: only those that are; None: those too. Raises `Refused`, which names the
        character at which a filter or an order is wrong."""
        request = pb.SearchLoggedModelsRequest(
            project=project,
            experiment_ids=several(experiments),
            filter=filter,
            order_by=several(order_by),
            visible_to=visible_to,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        found = await self._core.pages(self._stub.SearchLoggedModels, request, "models", CONTEXT, limit)
        return Rows(map(_with_metrics, found))

    async def files(
        self,
        id: str,
        path: str = "",
        *,
        recursive: bool = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> Rows[RunArtifactRow]:
        """What is in a folder of a logged model (its own one if `path` is empty), by path. `recursive`: all files at
        any depth, and no folders. Raises `NotFound` if there is no such model."""
        return await list_files(self._core, path, recursive=recursive, at=at, limit=limit, model_id=id)

    async def download(
        self,
        id: str,
        path: str = "",
        *,
        into: str | Path = ".",
        force: bool = False,
        at: datetime | None = None,
        progress: Progress | None = None,
    ) -> list[FetchedArtifact]:
        """Fetch a file or a folder of a logged model (all of it if `path` is empty) into a folder, with the paths that
        they have in the model. What is there already is left; other content is replaced only by `force`. Raises
        `NotFound`, `InvalidInput`, `Unavailable`."""
        rows = await self.files(id, path, recursive=True, at=at)
        missing = f"logged model {id} has no {path or 'files'}; `forgelog logged-models files` shows what it has"
        return await get_listed(self._core, rows, missing, Path(into), force=force, progress=progress)

    async def delete(self, id: str) -> Answer:
        """Take it out of the lists; it can be restored. Raises `Refused`."""
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.DeleteLoggedModel", {"model_id": id}))

    async def restore(self, id: str) -> Answer:
        """Bring a deleted one back. Raises `Refused`."""
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.RestoreLoggedModel", {"model_id": id}))


def _with_metrics(answer: Any) -> LoggedModelRow:
    return LoggedModelRow(answer.model, metrics=answer.metrics)
