"""Follows what the jobs of trials log: points of the objective become what a trial reports, and in the end its value.

A background of the context (`events.hosting.Background`). The table `followed_trials` has a row for each trial that is
to be followed (`services.experiments.followed_rows`). What is found is a command: `ReportTrial`, `TellTrial`. Its id is
derived from the trial, its attempt and the step, so that several processes, or one that was killed behind the
publishing, say it once.

A trial's value is read when nothing more can come of its job:

1. The job is complete, and its agent has sent what its program had left behind before it said so.
2. The tables of events contain all that was in the log then: every run that the job has made is known.
3. The tables of points contain all points of these runs that were in the log then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import TopicPartition

from events.hosting import Answering
from events.language.experiments import Direction, ReportTrial, TellTrial, TrialEnd
from events.language.experiments.tuning_pruning import Objective
from events.log.connect import connected
from events.log.consumers import new_consumer
from events.log.envelope import Position
from events.log.publish import Outgoing, Publisher
from events.log.topics import events
from events.process.settings import Settings
from events.queries.queries import QueryError, ReadModel
from events.queries.watching import Watcher
from events.streams.intake import Intake
from events.streams.reading import StreamReader
from services.experiments.background import again_and_again, tables_made
from services.experiments.followed_rows import FOLLOWED
from services.experiments.objective import series_of, value_of

if TYPE_CHECKING:
    from services.experiments.points.reading import PointTables, StoredSeries

CONTEXT = "experiments"
MOST_REPORTS = 500
"""Reports of a trial that are sent at a time."""
_GATHER = 0.1
"""Seconds between two looks: what comes meanwhile is looked at together."""
_LOOK = 1.0
"""Longest wait for news, in seconds, while trials run."""
_AGAIN = 5.0
"""Seconds before trials are followed again after an error."""

_RUNS = """
    select run_id, job_id, attempt from runs where job_id = any($1::text[]) and deleted_at is null
    order by (parent_run_id <> ''), started_at, run_id
"""
"""The runs of jobs. A trial's own comes before those within it."""

log = logging.getLogger("forgelog.experiments")


class Attempt(NamedTuple):
    """What is followed."""

    tuning_id: str
    number: int
    attempt: int


async def follow_trials(answering: Answering) -> None:
    """Follow them until cancelled."""
    (points,) = answering.intakes
    await again_and_again(lambda: _Follower(answering, points).run(), _AGAIN, "trials can't be followed now")


class _Follower:
    def __init__(self, answering: Answering, points: Intake) -> None:
        self._read = answering.read
        self._settings = answering.settings
        self._points = points
        self._reader = StreamReader(answering.read, points)
        self._seen: dict[int, int] = {}
        """Number of a series → its points when it was looked at."""
        self._sent: dict[Attempt, int] = {}
        """The last step whose report Kafka has, where the table may not have it yet."""
        self._complete: dict[Attempt, float] = {}
        """Trials whose jobs are complete → the time (monotonic) by which all that they logged was in the log."""
        self._told: set[Attempt] = set()
        """Trials whose end Kafka has, where the table may not have it yet."""
        self._held: set[Attempt] = set()
        """Trials of which it was said that they can't be followed now."""

    async def run(self) -> None:
        """Follow trials as they come and go. Raises what keeps it from that."""
        await tables_made(self._read)
        with self._read.watching.joined(FOLLOWED) as watcher:
            async with Publisher(self._settings) as publisher:
                while True:
                    arrived = self._points.arrived
                    rows = await self._rows(watcher)
                    more = bool(rows) and await self._look(publisher, rows)
                    if not more:
                        await self._news(watcher, arrived, None if not rows else _LOOK)
                    await asyncio.sleep(_GATHER)

    async def _rows(self, watcher: Watcher) -> Sequence[Any]:
        known = watcher.take()
        async with self._read.snapshot() as (db, reached):
            rows: Sequence[Any] = await db.fetch("select * from followed_trials order by tuning_id, number")
        if known is None:
            watcher.looked(reached)
        there = {_attempt(row) for row in rows}
        self._told &= there
        self._held &= there
        if not rows:
            self._seen.clear()
        self._sent = {key: step for key, step in self._sent.items() if key in there}
        self._complete = {key: moment for key, moment in self._complete.items() if key in there}
        return rows

    async def _look(self, publisher: Publisher, rows: Sequence[Any]) -> bool:
        """Say what is new of these trials. Returns whether there is more to say at once."""
        if not self._reader.ready:
            return False
        rows = [row for row in rows if _attempt(row) not in self._told]
        done = [key for row in rows if row["done"] and (key := _attempt(row)) not in self._complete]
        if done:
            moment = time.monotonic()
            await _wait_for_events(self._settings, self._read)
            self._complete |= dict.fromkeys(done, moment)
        async with self._read.view() as db:
            found = await db.fetch(_RUNS, list({row["job_id"] for row in rows}))
        runs: dict[tuple[str, int], list[str]] = {}
        for row in found:
            runs.setdefault((row["job_id"], row["attempt"]), []).append(row["run_id"])
        more = False
        async with self._reader.view() as db:
            from services.experiments.points.reading import PointTables

            tables = PointTables(db, self._reader.schema)
            for row in rows:
                try:
                    outgoing = await self._news_of(tables, row, runs.get((row["job_id"], row["attempt"]), []))
                except QueryError as error:  # its partition of points stands still until a repair
                    self._hold(row, error)
                    continue
                if outgoing:
                    await publisher.publish_many(outgoing)
                    self._note(row, outgoing)
                    more = more or isinstance(outgoing[-1].command, ReportTrial)
        return more

    def _hold(self, row: Any, error: QueryError) -> None:
        if (key := _attempt(row)) not in self._held:
            self._held.add(key)
            log.warning("trial %d of tuning %s can't be followed now: %s", key.number, key.tuning_id, error)

    def _note(self, row: Any, outgoing: Sequence[Outgoing]) -> None:
        """Kafka has these commands."""
        for item in outgoing:
            if isinstance(item.command, ReportTrial):
                self._sent[_attempt(row)] = item.command.step
            else:
                self._told.add(_attempt(row))

    async def _news_of(self, tables: PointTables, row: Any, runs: Sequence[str]) -> list[Outgoing]:
        """What is to be said of a trial: what it has logged since, and its value once its job is complete and all of
        its points are there. Raises QueryError if they can't be."""
        objectives = [Objective.model_validate(each) for each in row["objectives"]]
        moment = self._complete.get(_attempt(row))
        # Each is asked, so that all are waited for together.
        waits = [run for run in runs if moment is not None and not self._reader.complete_to(moment, run)]
        last = moment is not None and not waits
        series = await tables.series(runs, [each.metric for each in objectives]) if runs else []
        reports = await self._reports(tables, row, objectives[0], series_of(series, runs, objectives[0].metric))
        if reports or not last:
            return reports
        directions = [Direction(each) for each in row["directions"]]
        values = [
            value_of(series_of(series, runs, each.metric), each, direction)
            for each, direction in zip(objectives, directions, strict=True)
        ]
        problems = [each for each in values if isinstance(each, str)]
        if not runs:
            problems = ["its job made no run: nothing logged an objective"]
        return [_told(row, problems[0] if problems else "", values)]

    async def _reports(
        self, tables: PointTables, row: Any, objective: Objective, series: Sequence[StoredSeries]
    ) -> list[Outgoing]:
        """The next reports of a trial, by step."""
        known = {each.number: each.tally.count for each in series}
        if all(self._seen.get(number) == count for number, count in known.items()):
            return []
        from events.streams.columns import merge
        from services.experiments.points.thinning import first_of_each

        stored = max(-1 if row["reported"] is None else row["reported"], self._sent.get(_attempt(row), -1))
        parts = await tables.points(series, stored + 1, None)
        steps, values = first_of_each(merge(list(parts.values())), objective.every, stored)
        if len(steps) <= MOST_REPORTS:
            self._seen |= known
        told = zip(steps[:MOST_REPORTS].tolist(), values[:MOST_REPORTS].tolist(), strict=True)
        return [_reported(row, step, value) for step, value in told]

    async def _news(self, watcher: Watcher, arrived: int, timeout: float | None) -> None:
        """Wait until a trial comes or goes; with a timeout also for points, and at most so many seconds."""
        if timeout is None:
            await watcher.news()
            return

        async def points_came() -> None:
            async with self._points.news:
                await self._points.news.wait_for(lambda: self._points.arrived != arrived)

        waits = [asyncio.create_task(points_came()), asyncio.create_task(watcher.news())]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            for wait in waits:
                with suppress(asyncio.CancelledError):
                    await wait


async def _wait_for_events(settings: Settings, read: ReadModel) -> None:
    """Wait until the tables contain all that is in the context's log now. Raises QueryError if they do not in time."""
    topic = events(CONTEXT)
    async with connected(new_consumer(settings)) as consumer:
        partitions = await consumer.partitions_of(settings.prefix + topic)
        ends: Mapping[Any, int] = await consumer.end_offsets(
            [TopicPartition(settings.prefix + topic, partition) for partition in partitions]
        )
    await read.wait_for([str(Position(topic, at.partition, end - 1)) for at, end in ends.items() if end])


def _attempt(row: Any) -> Attempt:
    return Attempt(row["tuning_id"], row["number"], row["attempt"])


def _reported(row: Any, step: int, value: float) -> Outgoing:
    command = ReportTrial(
        tuning_id=row["tuning_id"], number=row["number"], attempt=row["attempt"], step=step, value=str(value)
    )
    return _outgoing(row, command, f"step{step}")


def _told(row: Any, problem: str, values: Sequence[float | str]) -> Outgoing:
    """How a trial has ended: with these values, or failed for a reason."""
    command = TellTrial(
        tuning_id=row["tuning_id"],
        number=row["number"],
        attempt=row["attempt"],
        status=TrialEnd.FAILED if problem else TrialEnd.COMPLETED,
        objective_values=() if problem else tuple(str(value) for value in values),
        reason=problem,
    )
    return _outgoing(row, command, "end")


def _outgoing(row: Any, command: ReportTrial | TellTrial, part: str) -> Outgoing:
    id = f"{row['tuning_id']}.{row['number']}.{row['attempt']}.{part}"
    return Outgoing(command, id=id, project=row["project"], actor=row["owner"], source="forgelog/experiments")
