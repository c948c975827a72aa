"""An import, from its plan to its report: every run and model by itself, several runs at a time.

Reading is done by one thread (`Source`). A run that can't be read or written is told at the end, and the others go on.
A second import goes on where one was ended, even by kill -9: see `forgelog.importing.target`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from forgelog.errors import ForgelogError, InvalidInput, Unavailable
from forgelog.importing.source import Contents, Source, SourceExperiment, SourceRun, Trouble, Unreadable
from forgelog.importing.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from forgelog.client.aio import AsyncClient

T = TypeVar("T")

_AT_ONCE = 8
"""Runs that are written at the same time."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Plan:
    """What an import is about."""

    experiments: list[SourceExperiment]
    runs: list[SourceRun]
    models: list[Any]
    complete: int
    """Runs of these that a former import has completed; they are compared with the source once more."""
    begun: int
    """Runs that are here, and not completely."""
    deleted: int
    """Deleted runs of the source, which are left out."""
    troubles: list[Trouble]
    notes: list[str]
    marks: dict[str, str]


@dataclass(slots=True)
class Report:
    """What an import did."""

    imported: int = 0
    unchanged: int = 0
    points: int = 0
    files: int = 0
    versions: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What has no place here."""


class Import:
    """One import."""

    def __init__(self, client: AsyncClient, source: Source, thread: ThreadPoolExecutor) -> None:
        self._source, self._thread = source, thread
        self.target = Target(client, source.kind, self.read)

    async def read(self, work: Callable[[], T]) -> T:
        """Call a function in the source's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def plan(self, experiments: Collection[str] = (), *, deleted: bool = False) -> Plan:
        """`experiments`: only those of these names. `deleted`: deleted runs too. Raises `InvalidInput`,
        `Unavailable`."""
        found: Contents = await self._first()
        chosen = [each for each in found.experiments if not experiments or each.name in experiments]
        if missing := sorted(set(experiments) - {each.name for each in chosen}):
            raise InvalidInput(f"--experiment: there is no {missing[0]!r} in it")
        keys = {each.key for each in chosen}
        runs = [run for run in found.runs if run.experiment in keys]
        left = [run for run in runs if not run.deleted or deleted]
        used = {run.experiment for run in left}
        chosen = [each for each in chosen if each.key in used or not each.deleted]
        marks = await self.target.marks([self.target.run_id(run.key) for run in left])
        complete = sum(1 for mark in marks.values() if mark)
        models = [] if experiments else list(found.models)
        return Plan(
            chosen,
            left,
            models,
            complete,
            len(marks) - complete,
            len(runs) - len(left),
            list(found.troubles),
            list(found.notes),
            marks,
        )

    async def _first(self) -> Contents:
        try:
            return await self.read(self._source.contents)
        except Unreadable as error:
            raise InvalidInput(str(error)) from None

    async def carry_out(self, plan: Plan, progress: Progress) -> Report:
        """Raises `Unavailable` when the platform is gone; all else is in the report."""
        report = Report(troubles=list(plan.troubles))
        ids = await self._experiments(plan, report)
        waiting = iter(run for run in plan.runs if run.experiment in ids)
        done = 0

        async def worker() -> None:
            nonlocal done
            for run in waiting:
                await self._run(run, ids[run.experiment], plan.marks, report)
                done += 1
                progress(done, len(plan.runs))

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(worker())
        runs = {run.key: run for run in plan.runs}
        for model in plan.models:
            try:
                versions = await self.target.model(model, runs, report.troubles)
                report.versions += versions
            except Unavailable:
                raise
            except ForgelogError as error:
                report.troubles.append(Trouble(f"model {model.name!r}", str(error)))
        report.notes += await self.read(self._source.notes)
        report.points, report.files = self.target.tally.points, self.target.tally.files
        return report

    async def _experiments(self, plan: Plan, report: Report) -> dict[str, str]:
        """Key of each experiment → its id here."""
        ids = {}
        for experiment in plan.experiments:
            try:
                ids[experiment.key] = await self.target.experiment(experiment)
            except Unavailable:
                raise
            except ForgelogError as error:
                count = sum(1 for run in plan.runs if run.experiment == experiment.key)
                where = f"experiment {experiment.name!r} with its {count} runs"
                report.troubles.append(Trouble(where, str(error)))
        return ids

    async def _run(self, run: SourceRun, experiment: str, marks: Mapping[str, str], report: Report) -> None:
        troubles: list[Trouble] = []
        try:
            fingerprint = await self.read(lambda: self._source.fingerprint(run))
            if marks.get(self.target.run_id(run.key)) == fingerprint:
                report.unchanged += 1
                return
            content = await self.read(lambda: self._source.content(run))
            troubles += content.troubles
            points = self._source.points(run, troubles)
            await self.target.run(run, experiment, content, points, fingerprint, troubles)
            report.imported += 1
        except Unavailable:
            raise
        except (ForgelogError, Unreadable) as error:
            troubles.append(Trouble(run.where, str(error)))
        finally:
            report.troubles += troubles


@asynccontextmanager
async def opened(client: AsyncClient, open_source: Callable[[], Source]) -> AsyncIterator[Import]:
    """An import of the source that a function opens, in the thread that reads it. Raises `InvalidInput`."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="source") as thread:
        try:
            source = await loop.run_in_executor(thread, open_source)
        except Unreadable as error:
            raise InvalidInput(str(error)) from None
        try:
            yield Import(client, source, thread)
        finally:
            await loop.run_in_executor(thread, source.close)
