"""Datasets that pipelines make, through the client: versions, rules, contracts, quality and lineage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from google.protobuf.json_format import ParseDict

from forgelog.client.core import Namespace
from forgelog.client.fetching import in_thread, read_object
from forgelog.client.pipeline_ids import pipeline_id
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import DataSchemaRow, DatasetRow, DataVersionRow, QualityCheckRow, RuleRecordRow
from forgelog.client.words import enum_words
from forgelog.errors import InvalidInput
from forgelog_pb.pipelines.v1 import dataset_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import dataset_queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types

CONTEXT = "pipelines"


class AsyncPipelineData(Namespace):
    """Datasets of pipelines: `forgelog.pipelines.v1.DatasetQueries`, and the commands on them.

    A `name` is a dataset's name in the client's project, or its id. What lies in a place that has no name is a dataset
    too: its `name` is the path or URL, as `lineage` shows it and with a slash in it, or the one that `list` shows.
    """

    @property
    def _stub(self) -> Any:
        return rpc.DatasetQueriesStub(self._core.channel)

    async def set_contract(self, name: str, contract: Mapping[str, Any]) -> Answer:
        """Say what its versions must be; `contract` has the fields of `DatasetContract`. There need not be such a
        dataset yet. Raises `Refused`."""
        return await self._send("SetContract", name, contract=dict(contract))

    async def apply(self, file: str | Path) -> list[Answer]:
        """Set the contracts and define the rules of a manifest's datasets (``kind: Dataset``). Raises `ManifestError`,
        `Refused`."""
        from forgelog.manifest.datasets import DATASET
        from forgelog.manifest.kinds import load

        outcomes = []
        for each in load(file, DATASET):
            if each.contract is not None:
                outcomes.append(await self.set_contract(each.name, each.contract.model_dump(mode="json")))
            for rule in each.rules:
                outcomes.append(await self.define_rule(each.name, rule.model_dump(mode="json")))
        return outcomes

    async def define_rule(self, name: str, rule: Mapping[str, Any]) -> Answer:
        """Have all its versions checked by a rule, whichever pipeline makes them, or change the rule of that id.
        `rule` has the fields of `DataQualityRule`. Raises `Refused`."""
        return await self._send("DefineQualityRule", name, rule=dict(rule))

    async def record_lineage(
        self,
        name: str,
        *,
        job: str,
        inputs: Sequence[Mapping[str, Any]] = (),
        lineage: Mapping[str, Any] | None = None,
        columns: Sequence[Mapping[str, Any]] = (),
        location: str = "",
        run: str = "",
    ) -> Answer:
        """Say that a `job` outside of the platform has written it, and what of. `inputs` have the fields of
        `LineageInput`, `lineage` those of `LineageEdges`. Raises `Refused`."""
        return await self._send(
            "RecordLineage",
            name,
            job=job,
            run=run,
            location=location,
            columns=[*columns],
            inputs=[*inputs],
            lineage={"tables": [each["name"] for each in inputs]} if lineage is None else dict(lineage),
        )

    async def abandon(self, name: str, version: int, *, reason: str = "") -> Answer:
        """Give up a committed version that can't be published, so that the next one can be committed. Raises
        `Refused`."""
        return await self._send("AbandonVersion", name, dataset_version=version, reason=reason)

    async def get(self, name: str, *, at: datetime | None = None) -> DatasetRow:
        """A dataset as its newest published version is. Raises `NotFound`."""
        request = pb.GetDatasetRequest(dataset_id=self._id(name), options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetDataset, request, f"dataset {name}")
        return cast("DatasetRow", plain(answer.dataset))

    async def version(self, name: str, version: int = 0, *, at: datetime | None = None) -> DataVersionRow:
        """One of its versions; 0 is the newest published one. Raises `NotFound`."""
        return cast("DataVersionRow", plain((await self._version(name, version, at)).version))

    async def files(self, name: str, version: int = 0, *, at: datetime | None = None) -> Answer:
        """The manifest of a version, and that of its quarantine, with all files. Raises `NotFound`, `Unavailable`."""
        found = (await self._version(name, version, at)).files
        for manifest in (found.manifest, found.quarantine):
            if manifest.files_object.digest:  # there are too many for an event
                for each in await self._listed(manifest.files_object):
                    ParseDict(each, manifest.files.add())
        return plain(found)

    async def versions(
        self, name: str, *, status: Iterable[str] = (), at: datetime | None = None, limit: int | None = None
    ) -> list[DataVersionRow]:
        """Its versions, newest first. Raises `NotFound`."""
        request = pb.ListDataVersionsRequest(
            dataset_id=self._id(name),
            statuses=enum_words(types.DataVersionStatus.DESCRIPTOR, status, "status"),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListDataVersions, request, "versions", CONTEXT, limit)

    async def schemas(self, name: str, *, at: datetime | None = None, limit: int | None = None) -> list[DataSchemaRow]:
        """The schemas that it has had, newest first, each with what it changed. Raises `NotFound`."""
        request = pb.ListDataSchemasRequest(dataset_id=self._id(name), options=self._core.options(CONTEXT, at))
        return await self._core.pages(self._stub.ListDataSchemas, request, "schemas", CONTEXT, limit)

    async def rule_records(
        self, name: str, *, at: datetime | None = None, limit: int | None = None
    ) -> list[RuleRecordRow]:
        """How its rules have done so far. Raises `NotFound`."""
        request = pb.ListRuleRecordsRequest(dataset_id=self._id(name), options=self._core.options(CONTEXT, at))
        return await self._core.pages(self._stub.ListRuleRecords, request, "records", CONTEXT, limit)

    async def checks(
        self,
        *,
        dataset: str = "",
        pipeline: str = "",
        run: str = "",
        rule: str = "",
        breached: bool = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[QualityCheckRow]:
        """What came of rules, newest first; `breached`: only breaches."""
        request = pb.ListQualityChecksRequest(
            dataset_id=self._id(dataset) if dataset else "",
            pipeline_id=pipeline_id(pipeline, self._core.own_project) if pipeline else "",
            run_id=run,
            rule_id=rule,
            breached=breached,
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListQualityChecks, request, "checks", CONTEXT, limit)

    async def lineage(
        self,
        name: str,
        column: str = "",
        *,
        version: int = 0,
        direction: str = "",
        depth: int = 0,
        columns: bool = False,
        at: datetime | None = None,
    ) -> Answer:
        """What a dataset, or one of its columns, is computed from (`direction` ``up``), what is computed from it
        (``down``), or both: `nodes` and `edges`, up to `depth` steps away (10 if 0). With `columns` every column is
        followed. `version` says exactly which versions it came from. Raises `NotFound`, `InvalidInput`."""
        words = enum_words(pb.DataDirection.DESCRIPTOR, [direction] if direction else [], "direction")
        request: Any = pb.GetDataLineageRequest(
            dataset_id=self._id(name),
            column=column,
            version=version,
            depth=depth,
            columns=columns,
            options=self._core.options(CONTEXT, at),
        )
        if words:
            request.direction = pb.DataDirection.Value(words[0])
        return plain(await self._core.ask(self._stub.GetDataLineage, request, f"dataset {name}"))

    async def impact(self, name: str, column: str = "", *, depth: int = 0, at: datetime | None = None) -> Answer:
        """What a change of a dataset, or of one of its columns, reaches: `lineage` down, by columns. Raises
        `NotFound`, `InvalidInput`."""
        return await self.lineage(name, column, direction="down", depth=depth, columns=True, at=at)

    def _id(self, name: str) -> str:
        return dataset_id(name, self._core.own_project)

    async def _version(self, name: str, version: int, at: datetime | None) -> Any:
        options = self._core.options(CONTEXT, at)
        request = pb.GetDataVersionRequest(dataset_id=self._id(name), version=version, options=options)
        return await self._core.ask(self._stub.GetDataVersion, request, f"version {name}/{version or 'newest'}")

    async def _listed(self, named: Any) -> list[dict[str, Any]]:
        from events.language.objects import ObjectRef

        ref = ObjectRef(digest=named.digest, size=named.size)
        found: list[dict[str, Any]] = json.loads(
            await in_thread(self._core, "read", lambda remote: read_object(remote, ref))
        )
        return found

    async def _send(self, command: str, name: str, **fields: Any) -> Answer:
        body = {"dataset_id": self._id(name), **fields}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{command}", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        name: str = "",
        stale: bool = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[DatasetRow]:
        """Datasets, newest first; `name`: a part of the name or the place, `stale`: only those that are too old."""
        options = self._core.options(CONTEXT, at)
        request = pb.ListDatasetsRequest(project=project, name=name, stale=stale, options=options)
        return await self._core.pages(self._stub.ListDatasets, request, "datasets", CONTEXT, limit)


def dataset_id(name: str, project: str) -> str:
    """The id of a dataset that is named by its name in a project, by its id, or by its place: a path or URL, with a
    slash. Raises `InvalidInput`."""
    from events.language.pipelines.commits import place_label
    from events.log.ids import named_id

    if not name:
        raise InvalidInput("name: is empty; give a dataset's name")
    if "/" in name:
        return named_id(place_label(name), project)
    return name if "." in name else named_id(name, project)
