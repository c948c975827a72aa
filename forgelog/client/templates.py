"""Templates of experiments through the client."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from forgelog.client.artifacts import FetchedArtifact, bundle_files, get_files
from forgelog.client.bundles import Progress, upload
from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT, AsyncExperiments, lifecycle
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import ExperimentTemplateRow, TemplateRatingRow
from forgelog.client.template_folders import Folder, checked, described, place_of, placed
from forgelog.client.words import enum_words
from forgelog.errors import NotFound, Refused
from forgelog_pb.experiments.v1 import templates_pb2 as pb
from forgelog_pb.experiments.v1 import templates_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types


class Begun(NamedTuple):
    """An experiment that was made of a template."""

    experiment_id: str
    template: ExperimentTemplateRow
    files: list[str]
    """Paths of those that were written; what was there already is left out."""
    created: bool
    """False if there was such an experiment of the template already."""


class AsyncTemplates(Namespace):
    """Templates of experiments: `forgelog.experiments.v1.TemplateQueries`, and the commands on them.

    A `template` is its name in the client's project, or its id.
    """

    @property
    def _stub(self) -> Any:
        return rpc.TemplateQueriesStub(self._core.channel)

    @property
    def _project(self) -> str:
        return self._core.own_project

    async def save(
        self, name: str, folder: str | Path, *, id: str = "", progress: Progress | None = None, **spec: Any
    ) -> ExperimentTemplateRow:
        """Save a folder as a template: as a new one, or as the next version of the one that has the name.

        The folder's ``template.yaml`` says what it is; its other files, without those that ``.gitignore`` names, are
        what an experiment's folder begins with. `spec` are fields of `TemplateSpec`, which count before those of
        ``template.yaml``, and `scripts` (role → path). Raises `ManifestError`, `InvalidInput`, `Refused`.
        """
        said, scripts = described(Path(folder), spec)
        ref = await upload(self._core, folder, progress)
        found = await bundle_files(self._core, ref.digest, ref.size)
        body = {**said, "files": checked(found, scripts)}
        try:
            known = await self.get(name)
        except NotFound:
            outcome = await self._send("SaveTemplate", template_id=id, name=name, spec=body)
            return await self.get(str(outcome.subject))
        await self._send("ReviseTemplate", template_id=known.template_id, spec=body)
        return await self.get(known.template_id)

    async def get(self, template: str, *, at: datetime | None = None) -> ExperimentTemplateRow:
        """A template. Raises `NotFound`."""
        options = self._core.options(CONTEXT, at)
        try:
            request = pb.GetTemplateRequest(project=self._project, name=template, options=options)
            answer = await self._core.ask(self._stub.GetTemplate, request, f"template {template}")
        except NotFound:
            request = pb.GetTemplateRequest(template_id=template, options=options)
            answer = await self._core.ask(self._stub.GetTemplate, request, f"template {template}")
        return cast("ExperimentTemplateRow", plain(answer.template))

    async def rate(self, template: str, stars: int, *, comment: str = "") -> Answer:
        """Say what you think of it: 1 to 5 stars; your last word counts. Raises `Refused`."""
        id = (await self.get(template)).template_id
        return await self._send("RateTemplate", template_id=id, stars=stars, comment=comment)

    async def ratings(
        self, template: str, *, at: datetime | None = None, limit: int | None = None
    ) -> list[TemplateRatingRow]:
        """What people think of it, newest first. Raises `NotFound`."""
        id = (await self.get(template, at=at)).template_id
        request = pb.ListRatingsRequest(template_id=id, options=self._core.options(CONTEXT, at))
        return await self._core.pages(self._stub.ListRatings, request, "ratings", CONTEXT, limit)

    async def delete(self, template: str) -> Answer:
        """Take it away; its name is free. Experiments that were made of it stay. Raises `Refused`."""
        return await self._send("DeleteTemplate", template_id=(await self.get(template)).template_id)

    async def download(
        self,
        template: str,
        *,
        into: str | Path = ".",
        force: bool = False,
        at: datetime | None = None,
        progress: Progress | None = None,
    ) -> list[FetchedArtifact]:
        """Fetch its files into a folder. What is there already is left; other content is replaced only by `force`.
        Raises `NotFound`, `InvalidInput`, `Unavailable`."""
        files = Folder(await self.get(template, at=at)).files
        return await get_files(self._core, files, Path(into), force=force, progress=progress)

    async def begin(
        self,
        template: str,
        folder: str | Path = ".",
        *,
        name: str = "",
        force: bool = False,
        progress: Progress | None = None,
        **fields: Any,
    ) -> Begun:
        """Make an experiment of a template, and write its files into a folder.

        The experiment is called like the folder, or `name`; `fields` are those of `CreateExperiment`. Beside the
        template's files stand ``experiment.json`` (the experiment's name and hyperparameters) and, if it has a script
        for training or evaluation, ``job.yaml``, which ``forgelog submit`` takes. A template that comes with Forgelog
        is saved in the project when it is first used. Once more in the same folder, it writes what is missing.

        Raises `NotFound`, `Refused`, `InvalidInput` where another file is in the way (but for `force`), `Unavailable`.
        """
        row = await self._usable(template)
        into, name = place_of(folder, name, force=force)
        given = Folder(row)
        await placed(self._core, given, into, force=force, only_check=True)
        id, created = await self._made(name, row, fields)
        experiment = await AsyncExperiments(self._core).get(id)
        given.add_own(name, experiment.hyperparameters)
        files = await placed(self._core, given, into, force=force, progress=progress)
        return Begun(id, row, files, created)

    async def _made(self, name: str, row: ExperimentTemplateRow, fields: dict[str, Any]) -> tuple[str, bool]:
        """The experiment of this name, and whether it is new; one of the template's may be there."""
        experiments = AsyncExperiments(self._core)
        try:
            return await experiments.create(name, template_id=row.template_id, **fields), True
        except Refused as refused:
            if refused.code != "already_exists":
                raise
            found = await experiments.get(name=name, project=self._project)
            if found.template_id != row.template_id or found.deleted_at is not None:
                raise
            return found.experiment_id, False

    async def _usable(self, template: str) -> ExperimentTemplateRow:
        """A template, saved now if it comes with Forgelog and is not there yet."""
        from forgelog import templates

        try:
            return await self.get(template)
        except NotFound:
            if template not in templates.names():
                hint = "forgelog templates list shows what there is"
                raise NotFound(f"there is no template {template!r}; {hint}") from None
        with templates.unpacked(template) as folder:
            return await self.save(template, folder)

    async def _send(self, kind: str, **body: Any) -> Answer:
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{kind}", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        name: str = "",
        owner: str = "",
        framework: Iterable[str] = (),
        architecture: str = "",
        type: str = "",
        metric: str = "",
        order: str = "",
        deleted: bool | None = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[ExperimentTemplateRow]:
        """Templates, newest first; `order` ``uses`` or ``rating``: those with most experiments, or most stars, first.
        `name`: a part of it. `metric`: those that recommend it. `deleted`: only those that are; None: those too."""
        request: Any = pb.ListTemplatesRequest(
            project=project,
            name=name,
            owner=owner,
            frameworks=enum_words(types.ModelFramework.DESCRIPTOR, framework, "framework"),
            architecture=architecture,
            experiment_type=type,
            metric=metric,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        if order:
            (word,) = enum_words(pb.TemplateOrder.DESCRIPTOR, [order], "order")
            request.order = pb.TemplateOrder.Value(word)
        return await self._core.pages(self._stub.ListTemplates, request, "templates", CONTEXT, limit)
