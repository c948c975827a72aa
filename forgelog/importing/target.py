"""Writes runs and models to the platform. Each step may be repeated: what is there already changes nothing.

Ids are derived from those of the source, so a second import finds what the first one made. A run (a model, a version)
that is complete has a tag with the source's fingerprint (`MARK`): as long as that is the same, nothing is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from blake3 import blake3

from events.language.common import DEFAULT_PROJECT, printable
from events.language.experiments.points import MAX_BATCH_POINTS, MAX_KEY, TIMES
from events.log.ids import derived_id, id_ending
from forgelog.client import packing
from forgelog.errors import ForgelogError, InvalidInput, NotFound, Refused
from forgelog.importing.mlflow import MAX_PARAM, MAX_TAG, PARENT
from forgelog.importing.source import (
    Content,
    Series,
    SourceExperiment,
    SourceModel,
    SourceRun,
    SourceVersion,
    Told,
    Trouble,
)

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient

T = TypeVar("T")

SOURCE, SOURCE_ID, MARK, MADE = (
    "forgelog.imported_from",
    "forgelog.imported_id",
    "forgelog.imported",
    "forgelog.imported_created_at",
)
"""Tags of what was imported: the kind of its source, what it is called there, the fingerprint of what is complete, and
when it was made there."""

_ENTRIES, _BYTES = 500, 400_000
"""Most parameters and tags, and bytes of them, in one command; a command has at most 1,000,000 bytes."""
_POINT_BYTES = 500_000
_INPUTS = 4
"""Most datasets in one command: each may have 200,000 bytes."""
_TAKING = ("draft", "running")
"""Statuses of experiments that take runs."""


@dataclass(slots=True)
class Tally:
    """What was written."""

    points: int = 0
    files: int = 0


@dataclass(slots=True)
class Target:
    """The platform, as a source of some kind is imported into it."""

    client: AsyncClient
    kind: str
    read: Callable[[Callable[[], Any]], Awaitable[Any]]
    """Calls a function in the source's thread."""
    tally: Tally = field(default_factory=Tally)

    def id(self, prefix: str, key: str) -> str:
        """The id here of what is called so in the source."""
        return derived_id(prefix, f"import\n{self.kind}\n{key}", self.client.project or DEFAULT_PROJECT)

    def run_id(self, run: str) -> str:
        return self.id("r", run)

    async def experiment(self, experiment: SourceExperiment) -> str:
        """The id of the experiment of this name, which is made if there is none. Raises `ForgelogError`, also if it
        takes no runs."""
        try:
            found = await self.client.experiments.get(name=experiment.name)
        except NotFound:
            tags = {**experiment.tags, SOURCE: self.kind, SOURCE_ID: experiment.key}
            id = self.id("e", f"experiment\n{experiment.name}")
            try:
                return await self.client.experiments.create(
                    experiment.name, id=id, description=experiment.description[:10_000], tags=tags
                )
            except Refused as error:
                if error.code != "already_exists":
                    raise
                found = await self.client.experiments.get(name=experiment.name)
        if found.deleted_at is not None:
            raise InvalidInput("the experiment of this name is deleted here; restore it, or give it another name")
        if found.status not in _TAKING:
            raise InvalidInput(f"the experiment of this name is {found.status} here and takes no runs")
        return found.experiment_id

    async def marks(self, runs: Sequence[str]) -> dict[str, str]:
        """Ids of runs that are here → their marks (nothing for an incomplete one)."""
        found: dict[str, str] = {}
        for first in range(0, len(runs), 100):
            listed = ", ".join(f"'{id}'" for id in runs[first : first + 100])
            rows: Any = await self.client.runs.search(f"run_id in ({listed})", deleted=None)
            found |= {row.run_id: row["tags"].get(MARK, "") for row in rows}
        return found

    async def run(
        self,
        run: SourceRun,
        experiment: str,
        content: Content,
        points: Iterator[Series],
        fingerprint: str,
        troubles: list[Trouble],
    ) -> None:
        """Write a run. What of it can't be written is added to `troubles`; it is complete only without any. Raises
        `ForgelogError`."""
        id, own = self.run_id(run.key), run.where
        params = self._entries(content.params, MAX_PARAM, own, "parameter", troubles)
        tags = self._entries(self._tags(run, content), MAX_TAG, own, "tag", troubles)
        pieces = list(_chunks(params, tags))
        first_params, first_tags = pieces[0] if pieces else ({}, {})
        fields: dict[str, Any] = {"name": run.name[:250], "params": first_params, "tags": first_tags}
        if run.parent:
            fields["parent_run_id"] = self.run_id(run.parent)
        if run.started_at is not None:
            fields["started_at"] = run.started_at.isoformat()
        try:
            await self.client.runs.create(experiment_id=experiment, id=id, **fields)
        except Refused as error:
            if error.code != "already_exists":
                raise
            await self.client.runs.log(id, params=first_params, tags=first_tags)
        for some_params, some_tags in pieces[1:]:
            await self.client.runs.log(id, params=some_params, tags=some_tags)
        for first in range(0, len(content.inputs), _INPUTS):
            await self.client.runs.log_inputs(id, content.inputs[first : first + _INPUTS])
        await self._points(id, own, points, troubles)
        if content.files:
            files = await self.client.runs.log_artifacts(id, content.files)
            self.tally.files += files
        await self._end(id, content.status or run.status, content.ended_at or run.ended_at or run.started_at)
        if not troubles:
            await self.client.runs.log(id, tags={MARK: fingerprint})
        if run.deleted:
            await self.client.runs.delete(id)

    def _tags(self, run: SourceRun, content: Content) -> dict[str, str]:
        tags = {**content.tags, SOURCE: self.kind, SOURCE_ID: run.label or run.key}
        if run.parent and PARENT in tags:
            # As its clients see it: they look for runs of a run by this tag.
            ending = id_ending(self.client.project or DEFAULT_PROJECT)
            tags[PARENT] = self.run_id(run.parent).removesuffix(ending) + ending.replace(".", "-")
        return tags

    async def _end(self, id: str, status: str, ended_at: datetime | None) -> None:
        if status == "running":
            return
        body: dict[str, Any] = {"run_id": id, "status": status}
        if ended_at is not None:
            body["ended_at"] = ended_at.isoformat()
        await self.client.publish(("forgelog.experiments.v1.EndRun", body))

    async def _points(self, id: str, own: str, points: Iterator[Series], troubles: list[Trouble]) -> None:
        """Several series go in one batch, while there is room."""
        batch: list[tuple[str, str, dict[str, bytes]]] = []
        count = size = 0
        while (series := await self.read(lambda: next(points, None))) is not None:
            whole = _checked(series, Told(f"{own}, metric {series.key!r}", troubles))
            if whole is None:
                continue
            length = len(whole.values)
            room = 24 * length + 4 * (len(whole.key) + len(whole.dataset)) + 50
            if batch and (count + length > MAX_BATCH_POINTS or size + room > _POINT_BYTES):
                await self.client.runs.log_series(id, batch)
                batch, count, size = [], 0, 0
            batch += [
                (whole.key, whole.dataset, columns)
                for columns in packing.pieces(whole.steps, whole.times, whole.values)
            ]
            count, size = count + length, size + room
            self.tally.points += length
        if batch:
            await self.client.runs.log_series(id, batch)

    def _entries(
        self, given: Mapping[str, str], most: int, own: str, what: str, troubles: list[Trouble]
    ) -> dict[str, str]:
        """Those that the platform takes; the others are troubles."""
        found = {}
        for key, value in given.items():
            if problem := _key_problem(key) or (f"has {len(value)} characters; {most} at most" * (len(value) > most)):
                troubles.append(Trouble(f"{own}, {what} {key[:60]!r}", problem))
            elif "\0" in value:
                troubles.append(Trouble(f"{own}, {what} {key[:60]!r}", "has a zero byte, which no text has"))
            else:
                found[key] = value
        return found

    # Models

    async def model(self, model: SourceModel, runs: Mapping[str, SourceRun], troubles: list[Trouble]) -> int:
        """Write a model with its versions and aliases; how many versions are new. Raises `ForgelogError`."""
        own = f"model {model.name!r}"
        tags = self._entries({**model.tags, SOURCE: self.kind}, MAX_TAG, own, "tag", troubles)
        try:
            found = await self.client.models.get(model.name)
            id = found.model_id
        except NotFound:
            id = await self.client.models.register(
                model.name, id=self.id("md", f"model\n{model.name}"), description=model.description[:10_000], tags=tags
            )
            found = await self.client.models.get(id)
        numbers: dict[int, int] = {}
        made = 0
        for version in model.versions:
            where = f"{own}, version {version.number}"
            try:
                numbers[version.number], new = await self._version(id, version, runs)
                made += new
            except ForgelogError as error:
                troubles.append(Trouble(where, str(error)))
        mark = blake3(repr(sorted(model.aliases.items())).encode()).hexdigest(16)
        if found["tags"].get(MARK) == mark:
            return made
        lacking = False
        for alias, number in model.aliases.items():
            if number not in numbers:
                troubles.append(Trouble(f"{own}, alias {alias!r}", f"means version {number}, which is not imported"))
                lacking = True
            else:
                lacking |= not await _tried(
                    self._send("SetAlias", model_id=id, alias=alias, number=numbers[number]),
                    f"{own}, alias {alias!r}",
                    troubles,
                )
        if not lacking:
            await self._send("UpdateModel", model_id=id, tags={MARK: mark})
        return made

    async def _version(self, model: str, version: SourceVersion, runs: Mapping[str, SourceRun]) -> tuple[int, bool]:
        """Its number here, and whether it is new. Raises `ForgelogError`."""
        id = self.id("mv", f"version\n{version.key}")
        try:
            found = await self.client.models.version(id)
            new = False
        except NotFound:
            found, new = await self._publish(model, id, version, runs), True
        mark = blake3(version.key.encode()).hexdigest(16)
        if found["tags"].get(MARK) != mark:
            if version.stage != "none":
                await self._send("SetModelStage", version_id=id, stage=version.stage)
            await self._send("UpdateModelVersion", version_id=id, tags={MARK: mark})
        return found.number, new

    async def _publish(self, model: str, id: str, version: SourceVersion, runs: Mapping[str, SourceRun]) -> Any:
        if version.trouble:
            raise InvalidInput(version.trouble)
        tags = {**version.tags, SOURCE: self.kind, SOURCE_ID: str(version.number)}
        if version.created_at is not None:
            tags[MADE] = version.created_at.isoformat()
        fields: dict[str, Any] = {"id": id, "notes": version.notes[:10_000], "tags": tags}
        run = self.run_id(version.run) if version.run in runs else ""
        if version.files:
            fields |= {"source_run_id": run} if run else {}
            return await self.client.models.create_version(model, folder=version.files, **fields)
        if not run:
            raise InvalidInput(f"its files are those of run {version.run or '(none)'}, which is not imported")
        return await self.client.models.create_version(model, run=run, path=version.path, **fields)

    async def _send(self, kind: str, **fields: Any) -> None:
        await self.client.publish((f"forgelog.experiments.v1.{kind}", fields))


async def _tried(work: Awaitable[Any], where: str, troubles: list[Trouble]) -> bool:
    try:
        await work
    except ForgelogError as error:
        troubles.append(Trouble(where, str(error)))
        return False
    return True


def _chunks(params: Mapping[str, str], tags: Mapping[str, str]) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """What one command each may say."""
    chunk: tuple[dict[str, str], dict[str, str]] = ({}, {})
    count = size = 0
    entries: Iterable[tuple[int, str, str]] = [
        *((1, key, value) for key, value in tags.items()),
        *((0, key, value) for key, value in params.items()),
    ]
    for which, key, value in entries:
        length = len(key.encode()) + len(value.encode()) + 10
        if count == _ENTRIES or (count and size + length > _BYTES):
            yield chunk
            chunk, count, size = ({}, {}), 0, 0
        chunk[which][key] = value
        count, size = count + 1, size + length
    if count:
        yield chunk


def _key_problem(key: str) -> str:
    """Why the platform does not take a name; empty if it does."""
    if not 0 < len(key) <= MAX_KEY:
        return f"the name has {len(key)} characters; 1 to {MAX_KEY} are taken"
    try:
        printable(key)
    except ValueError:
        return "the name can't be printed"
    return ""


def _checked(series: Series, told: Told) -> Series | None:
    """The points that the platform takes, of a series whose name it takes; None if there are none."""
    if problem := _key_problem(series.key) or (series.dataset and _key_problem(series.dataset)):
        told.add(problem)
        return None
    steps, whole = range(-(1 << 63), 1 << 63), range(len(series.values))
    kept = [index for index in whole if series.times[index] in TIMES and series.steps[index] in steps]
    if len(kept) == len(series.values):
        return series
    for index in whole:
        if series.times[index] not in TIMES:
            told.add(f"the time {series.times[index]} is not of the years 1 to 9999, in milliseconds since 1970")
        elif series.steps[index] not in steps:
            told.add(f"the step {series.steps[index]} has more than 64 bits")
    told.end()
    if not kept:
        return None
    columns: list[Any] = [[column[index] for index in kept] for column in (series.steps, series.times, series.values)]
    return Series(series.key, series.dataset, *columns)
