"""Templates of pipelines through the client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from forgelog.client.bundles import upload_each
from forgelog.client.core import Namespace
from forgelog.client.pipeline_ids import pipeline_id
from forgelog.client.pipelines import CONTEXT, AsyncPipelines, DefinedPipeline
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import PipelineTemplateRatingRow, PipelineTemplateRow
from forgelog.client.words import enum_words
from forgelog_pb.pipelines.v1 import template_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import template_queries_pb2_grpc as rpc


class AsyncPipelineTemplates(Namespace):
    """Templates of pipelines: `forgelog.pipelines.v1.PipelineTemplateQueries`, and the commands on them.

    A `template` is its name in the client's project, or its id.
    """

    @property
    def _stub(self) -> Any:
        return rpc.PipelineTemplateQueriesStub(self._core.channel)

    async def define(self, name: str, spec: Mapping[str, Any]) -> PipelineTemplateRow:
        """Make a template, or a new revision of it. `spec` has the fields of `PipelineTemplateSpec`; the same as before
        makes no revision. Raises `Refused`."""
        outcome = await self._core.publish(
            (f"forgelog.{CONTEXT}.v1.DefinePipelineTemplate", {"name": name, "spec": dict(spec)})
        )
        return await self.get(str(outcome.subject))

    async def apply(self, file: str | Path) -> list[PipelineTemplateRow]:
        """Define the templates of a manifest (``kind: PipelineTemplate``). Folders that they say are uploaded. Raises
        `ManifestError`, `InvalidInput`, `Refused`."""
        from forgelog.manifest.pipeline_templates import described

        found = described(file)
        refs = await upload_each(self._core, [each.upload for each in found])
        made = []
        for each in found:
            spec = each.spec.model_dump(mode="json")
            if each.upload:
                spec["definition"]["code"] = refs[each.upload].model_dump(mode="json")
            made.append(await self.define(each.name, spec))
        return made

    async def use(
        self,
        template: str,
        name: str,
        *,
        sources: Mapping[str, Any] | None = None,
        sinks: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        parallelism: Mapping[str, Any] | None = None,
        worker: Mapping[str, Any] | None = None,
        revision: int = 0,
        description: str = "",
        note: str = "",
    ) -> DefinedPipeline:
        """Make a pipeline of a template, or a new version of the pipeline `name`.

        `sources`, `sinks`: what the template requires, each by its name there with the fields of `DataSource` and
        `DataSink`. `parameters`: defaults in place of the template's. `parallelism` and `worker` (fields of
        `Parallelism` and `WorkerResources`): in place of what the template recommends. `revision`: refused unless it
        is the newest. Raises `Refused` with all that is wrong."""
        body: dict[str, Any] = {
            "template_id": self._id(template),
            "name": name,
            "revision": revision,
            "sources": dict(sources or {}),
            "sinks": dict(sinks or {}),
            "parameters": dict(parameters or {}),
            "parallelism": dict(parallelism or {}),
            "description": description,
            "note": note,
        }
        if worker is not None:
            body["worker"] = dict(worker)
        await self._core.publish((f"forgelog.{CONTEXT}.v1.UsePipelineTemplate", body), wait="conclusion")
        found = await AsyncPipelines(self._core).get(name)
        return DefinedPipeline(found.pipeline_id, int(found.version))

    async def get(self, template: str, *, at: datetime | None = None) -> PipelineTemplateRow:
        """A template with its newest revision. Raises `NotFound`."""
        options = self._core.options(CONTEXT, at)
        request = pb.GetPipelineTemplateRequest(template_id=self._id(template), options=options)
        answer = await self._core.ask(self._stub.GetPipelineTemplate, request, f"template {template}")
        return cast("PipelineTemplateRow", plain(answer.template))

    async def rate(self, template: str, stars: int, *, comment: str = "") -> Answer:
        """Say what you think of it: 1 to 5 stars; your last word counts. Raises `Refused`."""
        return await self._send("RatePipelineTemplate", template, stars=stars, comment=comment)

    async def ratings(
        self, template: str, *, at: datetime | None = None, limit: int | None = None
    ) -> list[PipelineTemplateRatingRow]:
        """What people think of it, newest first. Raises `NotFound`."""
        options = self._core.options(CONTEXT, at)
        request = pb.ListPipelineTemplateRatingsRequest(template_id=self._id(template), options=options)
        return await self._core.pages(self._stub.ListPipelineTemplateRatings, request, "ratings", CONTEXT, limit)

    async def delete(self, template: str) -> Answer:
        """Take it out of the lists; pipelines that were made of it stay. Raises `Refused`."""
        return await self._send("DeletePipelineTemplate", template)

    def _id(self, template: str) -> str:
        return pipeline_id(template, self._core.own_project)

    async def _send(self, command: str, template: str, **fields: Any) -> Answer:
        body = {"template_id": self._id(template), **fields}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{command}", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        text: str = "",
        owner: str = "",
        category: str = "",
        order: str = "",
        deleted: bool = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[PipelineTemplateRow]:
        """Templates, newest first; `order` ``uses`` or ``rating``: those with most pipelines, or most stars, first.
        `text`: a part of the name or of the description. `deleted`: those that are, in place of the others."""
        request: Any = pb.ListPipelineTemplatesRequest(
            project=project,
            text=text,
            owner=owner,
            category=category,
            deleted=deleted,
            options=self._core.options(CONTEXT, at),
        )
        if order:
            (word,) = enum_words(pb.PipelineTemplateOrder.DESCRIPTOR, [order], "order")
            request.order = pb.PipelineTemplateOrder.Value(word)
        return await self._core.pages(self._stub.ListPipelineTemplates, request, "templates", CONTEXT, limit)
