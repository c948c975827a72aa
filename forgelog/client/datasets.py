"""Versions of datasets through the client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from forgelog.client.artifacts import FetchedArtifact, bundle_files, get_files, put_bundle
from forgelog.client.bundles import Progress
from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import DatasetVersionRow
from forgelog.client.words import enum_words, several
from forgelog.errors import InvalidInput, NotFound
from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb
from forgelog_pb.experiments.v1 import registry_queries_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types

if TYPE_CHECKING:
    from forgelog.drift import DatasetComparison

_VERSION = re.compile(r"(?P<name>.+)/(?P<number>[0-9]{1,9})", re.DOTALL)
"""How a version is named: ``mnist/2``."""


class AsyncDatasets(Namespace):
    """Datasets: `forgelog.experiments.v1.RegistryQueries`, and the commands on them.

    A `ref` is a version: ``mnist/2`` in the client's project, ``mnist`` for the newest one, or its id.
    """

    @property
    def _stub(self) -> Any:
        return rpc.RegistryQueriesStub(self._core.channel)

    async def register(
        self,
        name: str,
        *,
        folder: str | Path = "",
        digest: str = "",
        id: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
        parents: Iterable[str] = (),
        measure: bool | None = None,
        wait: bool = True,
        timeout: float = 300.0,
        progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
        **spec: Any,
    ) -> DatasetVersionRow:
        """Register a version: a `folder` (or a file) of this machine, which the platform keeps, or by its `digest` what
        is elsewhere. `parents` are refs. `spec` are fields of `DatasetSpec`, such as `source`, `data_format`,
        `samples`, `splits`, `columns`, `statistics`, `preprocessing`.

        Files that are tables (Parquet, CSV, JSON lines) are measured by DuckDB, if it is installed: their schema,
        samples, splits and statistics are registered, and what `spec` says must agree. With `measure=True` they must
        be tables; with False they are not read. `say` is told why they were not measured.

        Unless told not to `wait`, it returns once the platform has compared all files with their digests. Raises
        `Refused`, also for content that the dataset has already, `InvalidInput`, `Timeout`."""
        if bool(digest) == bool(str(folder)):
            raise InvalidInput("folder: give a folder of this machine, or the digest of what is elsewhere; not both")
        if digest and measure:
            raise InvalidInput("measure: the data is elsewhere; give a folder of this machine, or leave measure out")
        if digest:
            spec["digest"] = digest
        else:
            if measure is not False:
                spec = await _measured(Path(folder), spec, measure is True, say)
            spec["bundle"] = await put_bundle(self._core, Path(folder), progress)
        spec["parents"] = [(await self.get(each)).version_id for each in several(parents)]
        body = {
            "version_id": id,
            "name": name,
            "spec": spec,
            "description": description,
            "tags": dict(tags or {}),
        }
        outcome = await self._core.publish(
            (f"forgelog.{CONTEXT}.v1.RegisterDataset", body),
            wait="conclusion" if wait and not digest else True,
            timeout=None if digest else timeout,
        )
        return await self._one(pb.GetDatasetRequest(version_id=outcome.subject), str(outcome.subject), None)

    async def get(self, ref: str, *, at: datetime | None = None) -> DatasetVersionRow:
        """A version. Raises `NotFound`."""
        name, number = (match["name"], match["number"]) if (match := _VERSION.fullmatch(ref)) else (ref, "0")
        project = self._core.own_project
        try:
            return await self._one(pb.GetDatasetRequest(project=project, name=name, number=int(number)), ref, at)
        except NotFound as none_of_this_name:
            try:
                return await self._one(pb.GetDatasetRequest(version_id=ref), ref, at)
            except NotFound:
                raise none_of_this_name from None

    async def compare(
        self, before: str, now: str, *, limits: Mapping[str, float] | None = None, at: datetime | None = None
    ) -> DatasetComparison:
        """What differs between two versions, by what was registered of them: schema, counts, preprocessing, and which
        columns have drifted. `limits`: measure → above what a column has, in place of `forgelog.drift.LIMITS`. Raises
        `NotFound`, `InvalidInput`."""
        from forgelog.drift import compared

        return compared(await self.get(before, at=at), await self.get(now, at=at), limits)

    async def check(self, ref: str) -> Answer:
        """Have the platform compare the files of a managed one with their digests once more. Raises `Refused`."""
        id = (await self.get(ref)).version_id
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.CheckDataset", {"version_id": id}))

    async def download(
        self,
        ref: str,
        *,
        into: str | Path = ".",
        force: bool = False,
        at: datetime | None = None,
        progress: Progress | None = None,
    ) -> list[FetchedArtifact]:
        """Fetch the files of a managed one into a folder; each is compared with its digest. Raises `NotFound`,
        `InvalidInput`, `Unavailable`."""
        found = await self.get(ref, at=at)
        if found.bundle is None:
            where = f"; it is at {found.source}" if found.source else ""
            raise InvalidInput(f"{ref} is external: the platform does not have its files{where}")
        files = await bundle_files(self._core, found.bundle.digest, found.bundle.size)
        return await get_files(self._core, files, Path(into), force=force, progress=progress)

    async def _one(self, request: Any, what: str, at: datetime | None) -> DatasetVersionRow:
        request.options.CopyFrom(self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetDataset, request, f"dataset {what}")
        return cast("DatasetVersionRow", plain(answer.dataset))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        name: str = "",
        status: Iterable[str] = (),
        format: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        digest: str = "",
        parent: str = "",
        preprocessing: str = "",
        preprocessing_parameters: Mapping[str, str] | None = None,
        column: str = "",
        run: str = "",
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[DatasetVersionRow]:
        """Versions of datasets, newest first. `name`: a part of it. `parent`: the id of a version that they were made
        of. `preprocessing`: a step that was taken, with all of `preprocessing_parameters`. `run`: the run that made
        them."""
        request = pb.ListDatasetsRequest(
            project=project,
            name=name,
            statuses=enum_words(types.DatasetStatus.DESCRIPTOR, status, "status"),
            formats=enum_words(types.DatasetFormat.DESCRIPTOR, format, "format"),
            tags=tags or {},
            digest=digest,
            parent_version_id=parent,
            preprocessing=preprocessing,
            preprocessing_parameters=preprocessing_parameters or {},
            column=column,
            source_run_id=run,
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListDatasets, request, "datasets", CONTEXT, limit)


async def _measured(
    source: Path, spec: dict[str, Any], wanted: bool, say: Callable[[str], None] | None
) -> dict[str, Any]:
    """What is said of a dataset, with what its files say. Raises `InvalidInput`."""
    from forgelog.measuring import SUFFIXES, NotMeasured, measured, with_measured

    format = str(spec.get("data_format") or "")
    if not wanted and format not in ("", *SUFFIXES):
        return spec
    stops: list[Callable[[], None]] = []
    try:
        found = await asyncio.to_thread(measured, source, format, began=stops.append)
    except NotMeasured as reason:
        if wanted:
            raise InvalidInput(f"{source} can't be measured: {reason}") from None
        if say is not None:
            say(f"{source} is not measured: {reason}")
        return spec
    except asyncio.CancelledError:
        for stop in stops:
            stop()
        raise
    return with_measured(spec, found)
