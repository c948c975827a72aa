"""Purges what was deleted long ago, and removes the points of runs that are purged.

A background of the context (`events.hosting.Background`). The table `deletions` has what is deleted and not purged.

1. Publish the command that purges what was deleted more than `purge_days` ago. The command names the deletion by its
   time: what was restored and deleted again since is not purged.
2. Publish the same for the runs and logged models of purged experiments.
3. Tell the tables of points which runs are purged. The stream removes their rows (`points.purged`).

Each command's id is derived from the deletion, so that several processes, or one that was killed behind the publishing,
purge once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from events.hosting import Answering
from events.language.experiments.purging import PurgeExperiment, PurgeLoggedModel, PurgeRun
from events.log.publish import Outgoing, Publisher
from events.projections.tables import Db, quoted
from events.streams.reading import StreamReader
from services.experiments.background import TABLES_MISSING, again_and_again, own_order

_PAUSE = 5.0
"""Seconds between two looks."""
_SOON = 0.5
"""The same after one that found something."""
_AT_ONCE = 500
"""Commands of one look."""
_TICK = timedelta(milliseconds=1)
"""More than the precision of an event's time."""

_DUE = "select id, kind, project, deleted_at from deletions where deleted_at < $1 order by deleted_at, id limit $2"
_EXPERIMENTS = "select experiment_id from experiments where purged_at is not null"
_LEFT = """
    select * from (
        select run_id as id, 'run' as kind, project, experiment_id from runs
        where experiment_id = any($1::text[]) and purged_at is null
        union all
        select model_id, 'logged_model', project, experiment_id from logged_models
        where experiment_id = any($1::text[]) and purged_at is null
    ) l order by experiment_id, id limit $2
"""
_TELL = """
    insert into {points}.purged (run) select r.run_id from {tables}.purged p
    join {tables}.runs r on p.subject = 'run/' || r.run_id
    where not exists (select from {points}.purged t where t.run = r.run_id) on conflict do nothing
"""


async def purge_deleted(answering: Answering) -> None:
    """Purge what is due, until cancelled."""
    worker = _Worker(answering)

    async def run() -> None:
        with suppress(*TABLES_MISSING):
            await worker.run()

    await again_and_again(run, _PAUSE, "what is deleted can't be purged now")


class _Worker:
    def __init__(self, answering: Answering) -> None:
        (points,) = answering.intakes
        self._read = answering.read
        self._points = StreamReader(answering.read, points)
        self._settings = answering.settings
        self._published: set[str] = set()
        """Ids of commands that Kafka has, and whose rows may not say so yet."""
        self._emptied: set[str] = set()
        """Purged experiments that have nothing left."""
        self._told = -1
        """How many purged things there were when the tables of points were told last."""

    async def run(self) -> None:
        """Purge what is due. Raises what keeps it from that."""
        while await self._look():
            await asyncio.sleep(_SOON)

    async def _look(self) -> bool:
        """Whether there was something to do, so that more may follow from it soon."""
        async with self._read.view() as db:
            due = {each.id: each for each in (*await self._due(db), *await self._left(db))}
            purged = await db.fetchval("select count(*) from purged")
        self._published &= due.keys()
        commands = [each for id, each in due.items() if id not in self._published]
        if commands:
            async with Publisher(self._settings) as publisher:
                await publisher.publish_many(commands)
            self._published |= due.keys()
        untold = purged != self._told and self._points.ready
        if untold:
            async with self._points.view() as db:
                tables = quoted(self._read.runner.schema)
                await db.execute(_TELL.format(points=self._points.schema, tables=tables))
            self._told = purged
        return bool(commands) or untold

    async def _due(self, db: Db) -> Iterable[Outgoing]:
        if not (days := self._settings.purge_days):
            return ()
        before = datetime.now(UTC) - timedelta(days=days)
        return [
            self._outgoing(row, f"{row['deleted_at'].timestamp():.6f}", deleted_before=row["deleted_at"] + _TICK)
            for row in await db.fetch(_DUE, before, _AT_ONCE + len(self._published))
        ]

    async def _left(self, db: Db) -> Iterable[Outgoing]:
        """What is left of purged experiments."""
        purged = {row["experiment_id"] for row in await db.fetch(_EXPERIMENTS)} - self._emptied
        if not purged:
            return ()
        rows = await db.fetch(_LEFT, list(purged), _AT_ONCE + len(self._published))
        if not rows:
            self._emptied |= purged
        return [self._outgoing(row, "experiment", experiment_id=row["experiment_id"]) for row in rows]

    def _outgoing(self, row: Any, stem: str, **fields: Any) -> Outgoing:
        """The command that purges a row's thing. `stem`: of its id, besides the thing's."""
        id, kind, project = row["id"], row["kind"], row["project"]
        command: PurgeExperiment | PurgeRun | PurgeLoggedModel
        if kind == "experiment":
            command = PurgeExperiment(project=project, experiment_id=id, **fields)
        elif kind == "run":
            command = PurgeRun(run_id=id, **fields)
        else:
            command = PurgeLoggedModel(model_id=id, **fields)
        return own_order(command, f"{id}.purge.{stem}", project)
