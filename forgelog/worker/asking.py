"""Answers what an executor asks in the middle of a stage, from the platform."""

from __future__ import annotations

import asyncio
from typing import Any

from events.language.convert import to_dict
from events.language.pipelines.connections import Connection, DataSourceType
from events.language.pipelines.dataset_answers import DataManifest, Dataset, DataVersion
from events.language.pipelines.sinks import WriteMode
from events.language.pipelines.sources import QUARANTINE
from events.log.ids import named_id
from forgelog.client.core import Core
from forgelog.errors import ForgelogError, NotFound
from forgelog.worker.framing import Message
from forgelog.worker.versions import BEHIND_SECONDS, Versions
from forgelog.worker.working import Order
from forgelog_pb.pipelines.v1 import dataset_queries_pb2, dataset_queries_pb2_grpc

_AGAIN_SECONDS, _LONGEST_PAUSE = 0.1, 2.0


class Asking:
    """An executor's questions."""

    def __init__(self, core: Core, project: str, versions: Versions, behind_seconds: float = BEHIND_SECONDS) -> None:
        self._core, self._project, self._versions = core, project, versions
        self._behind = behind_seconds

    async def answer(self, order: Order, question: Message) -> Message:
        """``answer``, or ``problem`` where there is none."""
        try:
            if question["ask"] == "dataset":
                name, version = question["name"], question["version"]
                least = _least(order, name, self._project) if not version else 0
                seconds = self._behind if least or _was_told(order, name, version) else 0.0
                return {"answer": await self._caught_up(name, version, least, seconds)}
            return {"answer": await self._rules(question["name"])}
        except (ForgelogError, LookupError) as error:
            return {"problem": str(error)}

    async def _caught_up(self, name: str, version: int, least: int, seconds: float) -> Message:
        """`_version`, asked again for so long while there is none, or none that is new enough."""
        clock, pause = asyncio.get_running_loop().time, _AGAIN_SECONDS
        until = clock() + seconds
        while True:
            try:
                found = await self._version(name, version)
                if found["version"] < least:
                    raise LookupError(f"version {least} of the dataset {name!r} is not in the platform's tables yet")
                return found
            except (NotFound, LookupError):
                if clock() + pause > until:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _version(self, name: str, version: int) -> Message:
        """Where a published version of a dataset is, or what was set aside from it. Raises LookupError."""
        dataset = await self._dataset(name.removesuffix(QUARANTINE))
        if dataset is None:
            raise LookupError(f"there is no dataset {name!r} in {self._project}")
        if not dataset.version:
            raise LookupError(f"nothing of the dataset {name!r} was published yet")
        answer = await self._published(dataset, version)
        found = DataVersion.model_validate(to_dict(answer.version))
        if name.endswith(QUARANTINE):
            return await self._quarantine(dataset, found)
        manifest = answer.files.manifest
        stage = await self._versions.stage(found.pipeline_id, found.pipeline_version, found.stage_id)
        sink = stage.sink if stage is not None else None
        return {
            "dataset_id": found.dataset_id,
            "version": found.version,
            "type": sink.type if sink is not None else DataSourceType.DATASET,
            "base": manifest.base or found.location,
            "connection": (sink.connection if sink is not None else Connection()).model_dump(mode="json"),
        }

    async def _quarantine(self, dataset: Dataset, found: DataVersion) -> Message:
        """Where the rows are that were set aside up to a version. A version from which none were keeps those of older
        ones if it added to them, and none if it replaced them."""
        about = {"dataset_id": found.dataset_id, "version": found.version, "type": DataSourceType.DATASET}
        none = {**about, "base": "", "empty": [each.model_dump(mode="json") for each in found.columns]}
        try:
            answer = await self._published(dataset, found.version, quarantined=True)
        except NotFound:
            return none
        manifest = DataManifest.model_validate(to_dict(answer.files)).quarantine
        assert manifest is not None, "the query asks for a version that has one"
        if manifest.mode is WriteMode.OVERWRITE and answer.version.version != found.version:
            return none
        return {**about, "base": manifest.base, "stored": answer.version.version}

    async def _published(self, dataset: Dataset, version: int, *, quarantined: bool = False) -> Any:
        request = dataset_queries_pb2.GetDataVersionRequest(
            dataset_id=dataset.dataset_id,
            version=version or dataset.version,
            quarantined=quarantined,
            options=self._core.options("pipelines", None),
        )
        stub = dataset_queries_pb2_grpc.DatasetQueriesStub(self._core.channel)
        return await self._core.ask(stub.GetDataVersion, request, f"version {version} of {dataset.name}")

    async def _rules(self, name: str) -> Message:
        """The rules that a dataset has by itself, with their revisions, and the columns that its contract requires a
        value of; none of one that there is not yet."""
        dataset = await self._dataset(name)
        if dataset is None:
            return {"rules": [], "required": []}
        rules = [(each.rule.model_dump(mode="json"), each.revision) for each in dataset.rules]
        return {"rules": rules, "required": dataset.contract.required(dataset.columns)}

    async def _dataset(self, name: str) -> Dataset | None:
        """By its name in the project, or by its id."""
        stub = dataset_queries_pb2_grpc.DatasetQueriesStub(self._core.channel)
        options = self._core.options("pipelines", None)
        for given in ({"project": self._project, "name": name}, {"dataset_id": name}):
            request = dataset_queries_pb2.GetDatasetRequest(**given, options=options)
            try:
                answer = await self._core.ask(stub.GetDataset, request, f"dataset {name}")
            except NotFound:
                continue
            return Dataset.model_validate(to_dict(answer.dataset))
        return None


def _least(order: Order, name: str, project: str) -> int:
    """The version of a dataset that its newest one is at least: which the run was started for; 0: not known."""
    known = order.event.datasets if order.event is not None else {}
    name = name.removesuffix(QUARANTINE)
    id = name if "." in name else named_id(name, project)
    return int(known.get(id, 0))


def _was_told(order: Order, name: str, version: int) -> bool:
    """Whether the order itself names the version: then it is published, and tables that lack it are behind."""
    given = order.event.inputs if order.event is not None else ()
    return any((each.output.dataset_id, each.output.dataset_version) == (name, version) for each in given)
