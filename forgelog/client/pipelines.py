"""Pipelines through the client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from forgelog.client.bundles import upload_each
from forgelog.client.core import Namespace
from forgelog.client.pipeline_ids import pipeline_id
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import PipelineRow, PipelineVersionRow
from forgelog.client.statuses import PIPELINES
from forgelog.client.words import enum_words
from forgelog_pb.pipelines.v1 import queries_pb2 as pb
from forgelog_pb.pipelines.v1 import queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types

CONTEXT = "pipelines"


class DefinedPipeline(NamedTuple):
    """What was defined."""

    pipeline_id: str
    version: int
    """The version that was made, or the one that there is already."""


class AsyncPipelines(Namespace):
    """Pipelines: `forgelog.pipelines.v1.PipelineQueries`, and the commands on them.

    A `name` is a pipeline's name in the client's project, or its id.
    """

    @property
    def _stub(self) -> Any:
        return rpc.PipelineQueriesStub(self._core.channel)

    async def define(self, name: str, spec: Mapping[str, Any], *, note: str = "", parent: str = "") -> DefinedPipeline:
        """Make a pipeline, or a new version of it. `spec` has the fields of `PipelineSpec`; the same as before makes
        no version. `parent`: the pipeline that it is a copy of. Raises `Refused`."""
        made_from = self._id(parent) if parent else ""
        body = {"name": name, "spec": dict(spec), "note": note, "parent": made_from}
        outcome = await self._core.publish((f"forgelog.{CONTEXT}.v1.DefinePipeline", body))
        id = str(outcome.subject)
        return DefinedPipeline(id, int((await self.get(id)).version))

    async def apply(self, file: str | Path, *, note: str = "") -> list[DefinedPipeline]:
        """Define the pipelines of a manifest (``kind: Pipeline``), or of a Python file that declares them. Folders that
        they say are uploaded. Raises `ManifestError`, `InvalidInput`, `Refused`."""
        from forgelog.pipelines.declaring.files import described

        found = described(file)
        refs = await upload_each(self._core, [each.upload for each in found])
        specs = [each.spec.model_dump(mode="json") for each in found]
        for each, spec in zip(found, specs, strict=True):
            if each.upload:
                spec["code"] = refs[each.upload].model_dump(mode="json")
        return [await self.define(each.name, spec, note=note) for each, spec in zip(found, specs, strict=True)]

    async def activate(self, name: str) -> Answer:
        """Let it run by its schedule and triggers from here on. Raises `Refused`."""
        return await self._send("ActivatePipeline", name)

    async def pause(self, name: str, *, reason: str = "") -> Answer:
        """Start none of its runs until it is resumed. Raises `Refused`."""
        return await self._send("PausePipeline", name, reason=reason)

    async def resume(self, name: str) -> Answer:
        """Go on with a paused one. Raises `Refused`."""
        return await self._send("ResumePipeline", name)

    async def retire(self, name: str, *, reason: str = "") -> Answer:
        """End it; its history stays, its name is free then. Raises `Refused`."""
        return await self._send("RetirePipeline", name, reason=reason)

    async def get(self, name: str, *, at: datetime | None = None) -> PipelineRow:
        """A pipeline with its newest version. Raises `NotFound`."""
        options = self._core.options(CONTEXT, at)
        request = pb.GetPipelineRequest(pipeline_id=self._id(name), options=options)
        answer = await self._core.ask(self._stub.GetPipeline, request, f"pipeline {name}")
        return cast("PipelineRow", plain(answer.pipeline))

    async def version(self, name: str, version: int, *, at: datetime | None = None) -> PipelineVersionRow:
        """One of its versions. Raises `NotFound`."""
        options = self._core.options(CONTEXT, at)
        request = pb.GetPipelineVersionRequest(pipeline_id=self._id(name), version=version, options=options)
        answer = await self._core.ask(self._stub.GetPipelineVersion, request, f"version {name}/{version}")
        return cast("PipelineVersionRow", plain(answer.version))

    async def versions(
        self, name: str, *, at: datetime | None = None, limit: int | None = None
    ) -> list[PipelineVersionRow]:
        """Its versions, newest first. Raises `NotFound`."""
        options = self._core.options(CONTEXT, at)
        request = pb.ListPipelineVersionsRequest(pipeline_id=self._id(name), options=options)
        return await self._core.pages(self._stub.ListPipelineVersions, request, "versions", "versions", limit)

    def _id(self, name: str) -> str:
        return pipeline_id(name, self._core.own_project)

    async def _send(self, command: str, name: str, **fields: Any) -> Answer:
        body = {"pipeline_id": self._id(name), **fields}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{command}", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        status: Iterable[str] = (),
        name: str = "",
        owner: str = "",
        tag: str = "",
        template: str = "",
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[PipelineRow]:
        """Pipelines, newest first; retired ones if `status` says so. `template`: those that were made of it."""
        request = pb.ListPipelinesRequest(
            project=project,
            statuses=enum_words(types.PipelineStatus.DESCRIPTOR, status, "status", among=PIPELINES),
            name=name,
            owner=owner,
            tag=tag,
            template_id=self._id(template) if template else "",
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListPipelines, request, CONTEXT, CONTEXT, limit)
