"""Models, their versions and lineage through the client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from forgelog.client.artifacts import FetchedArtifact, bundle_files, get_files, put_bundle
from forgelog.client.bundles import Progress
from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT
from forgelog.client.model_refs import parse_ref
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import LiveVersionRow, ModelVersionRow, PromotionRow, RegisteredModelRow
from forgelog.client.runs import AsyncRuns
from forgelog.client.words import enum_words, several
from forgelog.errors import InvalidInput, NotFound, Timeout
from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb
from forgelog_pb.experiments.v1 import registry_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types

CHECK_SECONDS = 300.0
"""Longest wait for the platform's look at a version's files, if no other is asked for; the gateway waits no longer."""


class AsyncModels(Namespace):
    """Models: `forgelog.experiments.v1.RegistryQueries`, and the commands on them.

    A `model` is its name in the client's project, or its id. A `ref` is a version: ``digits/3``, ``digits@champion``,
    ``digits:production``, or ``digits`` for the newest one.
    """

    @property
    def _stub(self) -> Any:
        return rpc.RegistryQueriesStub(self._core.channel)

    async def register(self, name: str, *, id: str = "", **fields: Any) -> str:
        """Make a model; its id. `fields` are those of `RegisterModel`, such as `description`, `card`, `access`,
        `approval_rules`, `tags`. Raises `Refused`."""
        outcome = await self._send("RegisterModel", model_id=id, name=name, **fields)
        return str(outcome.subject)

    async def update(self, model: str, **fields: Any) -> Answer:
        """Change a model; what is left out stays. `fields` are those of `UpdateModel`. Raises `Refused`."""
        return await self._send("UpdateModel", model_id=await self._id(model), **fields)

    async def rename(self, model: str, name: str) -> Answer:
        """Give it another name; its versions and its history stay its own. Raises `Refused`."""
        return await self._send("RenameModel", model_id=await self._id(model), name=name)

    async def delete(self, model: str) -> Answer:
        """Take it away with its versions; its name is free. Raises `Refused`."""
        return await self._send("DeleteModel", model_id=await self._id(model))

    async def get(self, model: str, *, at: datetime | None = None) -> RegisteredModelRow:
        """A model, by its name or its id. Raises `NotFound`."""
        options = self._core.options(CONTEXT, at)
        try:
            request = pb.GetModelRequest(project=self._project, name=model, options=options)
            answer = await self._core.ask(self._stub.GetModel, request, f"model {model}")
        except NotFound:
            request = pb.GetModelRequest(model_id=model, options=options)
            answer = await self._core.ask(self._stub.GetModel, request, f"model {model}")
        return cast("RegisteredModelRow", plain(answer.model))

    async def create_version(
        self,
        model: str,
        *,
        run: str = "",
        path: str = "",
        folder: str | Path | Mapping[str, Path] = "",
        id: str = "",
        notes: str = "",
        tags: Mapping[str, str] | None = None,
        wait: bool = True,
        timeout: float = CHECK_SECONDS,
        progress: Progress | None = None,
        **spec: Any,
    ) -> ModelVersionRow:
        """Publish a version: the file or folder `path` of a run, or a `folder` of this machine (or a file, or files by
        the paths that they are to have).

        `spec` are fields of `ModelVersionSpec`, such as `framework`, `model_format`, `metrics`, `signature`,
        `parents`. Unless told not to `wait`, it returns once the platform has compared all files with their digests.
        Raises `Refused`, also if they are damaged, `NotFound`, `InvalidInput`, `Timeout`.
        """
        if bool(run) == (folder not in ("", {})):
            raise InvalidInput("run: give a run with its path, or a folder of this machine, and not both")
        if run:
            runs = AsyncRuns(self._core)
            await runs.see_all(run)
            rows = await runs.artifacts(run, path, recursive=True)
            if not rows:
                raise NotFound(f"run {run} has no {path or 'files'}; `forgelog runs artifacts` shows what it has")
            base = path if rows[0].path != path else path.rpartition("/")[0]
            files = [(row.path.removeprefix(f"{base}/") if base else row.path, row.digest, row.size) for row in rows]
            bundle = await put_bundle(self._core, files)
            spec |= {"source_run_id": run, "artifact_path": path}
        else:
            bundle = await put_bundle(self._core, Path(folder) if isinstance(folder, str) else folder, progress)
        body = {
            "version_id": id,
            "model_id": await self._id(model),
            "spec": {**spec, "bundle": bundle},
            "notes": notes,
            "tags": dict(tags or {}),
        }
        outcome = await self._send("CreateModelVersion", wait=wait, timeout=timeout, **body)
        return await self._version(pb.GetModelVersionRequest(version_id=outcome.subject), str(outcome.subject), None)

    async def version(self, ref: str, *, at: datetime | None = None) -> ModelVersionRow:
        """A version; with `at` the one that the alias or the environment meant then, as it was then. A name that the
        model had then counts first, then the one that it has now. Raises `NotFound`."""
        wanted = parse_ref(ref)
        which: dict[str, Any] = {"number": wanted.number, "alias": wanted.alias, "environment": wanted.environment}
        requests = [
            pb.GetModelVersionRequest(project=self._project, name=wanted.model, **which),
            pb.GetModelVersionRequest(model_id=wanted.model, **which),
            pb.GetModelVersionRequest(version_id=ref),
        ]
        problems = []
        for request in requests:
            try:
                return await self._version(request, ref, at)
            except NotFound as error:
                problems.append(error)
        raise problems[0]

    async def update_version(
        self, ref: str, *, notes: str | None = None, tags: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Change what is said of a version. A tag that is None goes. Raises `Refused`."""
        said = {} if notes is None else {"notes": notes}
        return await self._of_version("UpdateModelVersion", ref, tags=dict(tags or {}), **said)

    async def delete_version(self, ref: str) -> Answer:
        """Take a version out of the lists, with its aliases and stage. Raises `Refused`."""
        return await self._of_version("DeleteModelVersion", ref)

    async def check(self, ref: str, *, wait: bool = True, timeout: float = CHECK_SECONDS) -> ModelVersionRow:
        """Have the platform compare a version's files with their digests once more; the version, with what came of it
        unless told not to `wait`. Raises `Refused`, `Timeout`."""
        before = await self.version(ref)
        await self._send("CheckModelVersion", version_id=before.version_id)
        if wait:
            request = pb.WatchModelVersionsRequest(version_ids=[before.version_id])
            try:
                async with asyncio.timeout(timeout):
                    watch = self._core.connection.resumed(self._stub.WatchModelVersions, lambda: request, what="watch")
                    async with aclosing(watch) as changed:  # type: ignore[type-var]
                        async for answer in changed:
                            if plain(answer.version).checked_at != before.checked_at:
                                break
            except TimeoutError:
                raise Timeout(
                    f"the files of {ref} were not looked at within {timeout:g} s; `forgelog models show {ref}` says "
                    "when they were"
                ) from None
        return await self._version(pb.GetModelVersionRequest(version_id=before.version_id), ref, None)

    async def set_alias(self, model: str, alias: str, number: int) -> Answer:
        """Let an alias mean a version. Raises `Refused`."""
        return await self._send("SetAlias", model_id=await self._id(model), alias=alias, number=number)

    async def remove_alias(self, model: str, alias: str) -> Answer:
        """Let an alias mean nothing. Raises `Refused`."""
        return await self._send("RemoveAlias", model_id=await self._id(model), alias=alias)

    async def set_environment(self, model: str, environment: str, number: int | None, *, reason: str = "") -> Answer:
        """Set a version live in an environment, or none. Raises `Refused`, also where approvals are asked for."""
        said: dict[str, Any] = {"environment": environment, "number": number, "reason": reason}
        return await self._send("SetEnvironment", model_id=await self._id(model), **said)

    async def set_stage(self, ref: str, stage: str, *, archive_existing: bool = False) -> Answer:
        """Set a version's stage: none, staging, production or archived. Raises `Refused`."""
        return await self._of_version("SetModelStage", ref, stage=stage, archive_existing=archive_existing)

    async def promote(
        self,
        model: str,
        number: int,
        environment: str,
        *,
        id: str = "",
        reason: str = "",
        wait: bool = False,
        timeout: float = CHECK_SECONDS,
    ) -> str:
        """Ask that a version be live in an environment; the promotion's id. Its files are looked at once more, and who
        has to agree is asked. `wait`: until it is live. Raises `Refused`, also if it is rejected while it is waited
        for, `Timeout`."""
        body = {
            "promotion_id": id,
            "model_id": await self._id(model),
            "number": number,
            "environment": environment,
            "reason": reason,
        }
        outcome = await self._send("RequestPromotion", wait=wait, timeout=timeout, **body)
        return str(outcome.subject)

    async def approve(self, promotion: str, *, comment: str = "") -> Answer:
        """Agree to a promotion. Raises `Refused`."""
        return await self._send("ApprovePromotion", promotion_id=promotion, comment=comment)

    async def reject(self, promotion: str, reason: str) -> Answer:
        """End a promotion. Raises `Refused`."""
        return await self._send("RejectPromotion", promotion_id=promotion, reason=reason)

    async def promotions(
        self,
        *,
        project: str = "",
        model: str = "",
        environment: str = "",
        status: Iterable[str] = (),
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[PromotionRow]:
        """Promotions, newest first."""
        request = pb.ListPromotionsRequest(
            project=project,
            model_id=await self._id(model) if model else "",
            environment=environment,
            statuses=enum_words(types.PromotionStatus.DESCRIPTOR, status, "status"),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListPromotions, request, "promotions", CONTEXT, limit)

    async def live(
        self,
        model: str,
        *,
        slot: str = "",
        only_live: bool = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[LiveVersionRow]:
        """When which version had which alias, stage and environment, newest first. `slot`: only this one, such as
        ``alias:champion``. `only_live`: only what holds now, or at that time."""
        request = pb.ListLiveVersionsRequest(
            model_id=await self._id(model), slot=slot, only_live=only_live, options=self._core.options(CONTEXT, at)
        )
        return await self._core.pages(self._stub.ListLiveVersions, request, "live", CONTEXT, limit)

    async def lineage(self, ref: str, *, direction: str = "", depth: int = 0, at: datetime | None = None) -> Answer:
        """What a version was made of (`direction` ``up``), what was made of it (``down``), or both: `nodes` and
        `edges`, up to `depth` steps away (10 if 0). Raises `NotFound`, `InvalidInput`."""
        found = await self.version(ref, at=at)
        return await self.lineage_of("model_version", found.version_id, direction=direction, depth=depth, at=at)

    async def lineage_of(
        self, kind: str, id: str, *, direction: str = "", depth: int = 0, at: datetime | None = None
    ) -> Answer:
        """As `lineage`, of an experiment, run, job, dataset, checkpoint or model_version."""
        words = enum_words(pb.LineageDirection.DESCRIPTOR, [direction] if direction else [], "direction")
        request: Any = pb.GetLineageRequest(kind=kind, id=id, depth=depth, options=self._core.options(CONTEXT, at))
        if words:
            request.direction = pb.LineageDirection.Value(words[0])
        return plain(await self._core.ask(self._stub.GetLineage, request, f"{kind} {id}"))

    async def files(self, ref: str, *, at: datetime | None = None) -> list[FetchedArtifact]:
        """The files of a version; none is fetched. Raises `NotFound`, `Unavailable`."""
        version = await self.version(ref, at=at)
        found = await bundle_files(self._core, version.bundle.digest, version.bundle.size)
        return [FetchedArtifact(file.path, file.size, file.digest, fetched=False) for file in found]

    async def download(
        self,
        ref: str,
        *,
        into: str | Path = ".",
        force: bool = False,
        at: datetime | None = None,
        progress: Progress | None = None,
    ) -> list[FetchedArtifact]:
        """Fetch a version's files into a folder; each is compared with its digest. What is there already is left;
        other content is replaced only by `force`. Raises `NotFound`, `InvalidInput`, `Unavailable`."""
        version = await self.version(ref, at=at)
        files = await bundle_files(self._core, version.bundle.digest, version.bundle.size)
        return await get_files(self._core, files, Path(into), force=force, progress=progress)

    async def load(
        self, ref: str, *, into: str | Path, trust_pickle: bool = False, force: bool = False, at: datetime | None = None
    ) -> Any:
        """A version as a model, by its format and framework, by way of the folder `into`, as in `download`. Raises
        `InvalidInput`, also for what runs code without `trust_pickle`, and what `download` does."""
        from forgelog.client.loading import Files, load_files

        found = await self.version(ref, at=at)
        files = await bundle_files(self._core, found.bundle.digest, found.bundle.size)
        await get_files(self._core, files, Path(into), force=force)
        there = Files(Path(into), tuple(file.path for file in files))
        return await asyncio.to_thread(load_files, there, found.model_format, found.framework, trust_pickle)

    async def versions(
        self,
        model: str = "",
        *,
        project: str = "",
        status: Iterable[str] = (),
        stage: Iterable[str] = (),
        framework: Iterable[str] = (),
        format: Iterable[str] = (),
        quantization: Iterable[str] = (),
        architecture: str = "",
        optimization: str = "",
        compression: str = "",
        tags: Mapping[str, str] | None = None,
        run: str = "",
        experiment: str = "",
        job: str = "",
        checkpoint: str = "",
        parent: str = "",
        metrics_at_least: Mapping[str, float] | None = None,
        filter: str = "",
        order_by: Iterable[str] = (),
        visible_to: str = "",
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[ModelVersionRow]:
        """Versions, newest first. `metrics_at_least`: such as ``{"validation.accuracy": 0.9}``. `parent`: the id of a
        version that they were made of. `filter`: such as ``number > 3 and tags.checked = 'yes'``. `order_by`: such as
        ``["number asc"]``. Raises `Refused`, which names the character at which a filter or an order is wrong."""
        request = pb.ListModelVersionsRequest(
            project=project,
            model_id=await self._id(model) if model else "",
            statuses=enum_words(types.VersionStatus.DESCRIPTOR, status, "status"),
            stages=enum_words(types.ModelStage.DESCRIPTOR, stage, "stage"),
            frameworks=enum_words(types.ModelFramework.DESCRIPTOR, framework, "framework"),
            formats=enum_words(types.ModelFormat.DESCRIPTOR, format, "format"),
            quantizations=enum_words(types.Quantization.DESCRIPTOR, quantization, "quantization"),
            architecture=architecture,
            optimization=optimization,
            compression=compression,
            tags=tags or {},
            source_run_id=run,
            experiment_id=experiment,
            job_id=job,
            checkpoint_id=checkpoint,
            parent_version_id=parent,
            metrics_at_least=metrics_at_least or {},
            filter=filter,
            order_by=several(order_by),
            visible_to=visible_to,
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListModelVersions, request, "versions", CONTEXT, limit)

    @property
    def _project(self) -> str:
        return self._core.own_project

    async def _id(self, model: str) -> str:
        return (await self.get(model)).model_id

    async def _version(self, request: Any, what: str, at: datetime | None) -> ModelVersionRow:
        request.options.CopyFrom(self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetModelVersion, request, f"version {what}")
        return cast("ModelVersionRow", plain(answer.version))

    async def _of_version(self, kind: str, ref: str, **fields: Any) -> Answer:
        return await self._send(kind, version_id=(await self.version(ref)).version_id, **fields)

    async def _send(self, kind: str, *, wait: bool = False, timeout: float | None = None, **fields: Any) -> Answer:
        """`wait`: for the end of a creation in several steps."""
        command = f"forgelog.{CONTEXT}.v1.{kind}", fields
        return await self._core.publish(command, wait="conclusion" if wait else True, timeout=timeout if wait else None)

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        name: str = "",
        owner: str = "",
        tags: Mapping[str, str] | None = None,
        visible_to: str = "",
        filter: str = "",
        order_by: Iterable[str] = (),
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[RegisteredModelRow]:
        """Models, newest first. `name`: a part of it. `filter`, `order_by`: as with versions."""
        request = pb.ListModelsRequest(
            project=project,
            name=name,
            owner=owner,
            tags=tags or {},
            visible_to=visible_to,
            filter=filter,
            order_by=several(order_by),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListModels, request, "models", CONTEXT, limit)
