"""What must hold of pipelines after each round of `tests.chaos.pipelines`, told from the log and the tables.

Each check yields sentences about what does not hold.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

from events.language.pipelines.dataset_messages import VersionAbandoned, VersionCommitted, VersionPublished
from events.language.pipelines.enums import RunTrigger
from events.language.pipelines.run_events import RunCompleted, RunEnded, RunQueued
from events.language.pipelines.schedule_messages import ScheduleFired, TicksSkipped
from events.language.pipelines.trigger_messages import TriggerFired
from tests.chaos.checks import Log

ROWS, EVERY, VERSIONS = 200, 10, 5
"""Rows that a tick appends, seconds between two, and versions that come while a run is held."""


def all_of(log: Log, kind: type) -> list[Any]:
    """The events of a kind, in order."""
    return [each.data for each in log.of(kind)]


def wrong(log: Log) -> list[str]:
    return [*of_ticks(log), *of_runs(log), *of_versions(log), *of_triggers(log), *of_table(log)]


def of_ticks(log: Log) -> Iterator[str]:
    fired = [each.at for each in all_of(log, ScheduleFired)]
    for one, other in pairwise(fired):
        if other - one != timedelta(seconds=EVERY):
            yield f"after the tick {one} comes {other}"
    for each in all_of(log, TicksSkipped):
        yield f"ticks were passed over: {each}"


def of_runs(log: Log) -> Iterator[str]:
    for each in all_of(log, RunEnded):
        if not isinstance(each, RunCompleted):
            yield f"{type(each).__name__} of {each.run_id}: {each.reason}"


def of_versions(log: Log) -> Iterator[str]:
    for dataset in ("ticked", "counted", "fed"):
        for kind in (VersionCommitted, VersionPublished):
            of = [each for each in all_of(log, kind) if each.dataset_id == dataset]
            numbers = [each.dataset_version for each in of]
            if numbers != [*range(1, len(numbers) + 1)]:
                yield f"{kind.__name__} of {dataset}: {numbers}"
            for run, times in Counter(each.run_id for each in of).items():
                if times > 1:
                    yield f"run {run} has {times} {kind.__name__} of {dataset}"
    yield from (f"{each}" for each in all_of(log, VersionAbandoned))


def of_triggers(log: Log) -> Iterator[str]:
    for pipeline, dataset in (("counting", "ticked"), ("holding", "fed")):
        published = [each for each in all_of(log, VersionPublished) if each.dataset_id == dataset]
        fired = [each for each in all_of(log, TriggerFired) if each.pipeline_id == pipeline]
        taken = [
            number
            for each in fired
            for versions in each.versions
            for number in range(versions.first, versions.last + 1)
        ]
        if taken != [*range(1, len(taken) + 1)] or len(taken) > len(published):
            yield f"{pipeline} took the versions {taken} of the {len(published)} of {dataset}"
    runs = {each.run_id: each.versions[0].last for each in fired_of(log, "counting")}
    for event in all_of(log, VersionCommitted):
        if event.dataset_id == "counted" and event.request.inputs[0].version < runs[event.run_id]:
            yield f"{event.run_id} read version {event.request.inputs[0].version}, not {runs[event.run_id]}"
    held = [each.versions[0].last - each.versions[0].first + 1 for each in fired_of(log, "holding")]
    if not set(held) <= {1, VERSIONS}:
        yield f"the runs that were held took {held} versions each"


def of_table(log: Log) -> Iterator[str]:
    """The rows of each run that has a published version are in the table, each once."""
    ends = {each.run_id: each.interval_end for each in all_of(log, RunQueued) if each.trigger is RunTrigger.SCHEDULE}
    of = [each for each in all_of(log, VersionPublished) if each.dataset_id == "ticked"]
    if not of:
        yield "nothing of ticked was published"
        return
    ticks = sorted(ends[each.run_id] for each in of)
    yield from wrong_rows(Path(of[-1].location.removeprefix("file://")), of[-1].dataset_version, ticks)


def fired_of(log: Log, pipeline: str) -> list[TriggerFired]:
    found = (each for each in all_of(log, TriggerFired))
    return [each for each in found if isinstance(each, TriggerFired) and each.pipeline_id == pipeline]


def wrong_rows(place: Path, version: int, ticks: list[datetime]) -> Iterator[str]:
    """What a version of the table has too much, and what it lacks."""
    description = json.loads((place / "_forgelog" / f"{version}.json").read_text())
    files = [str(place / each["path"]) for each in description["files"]]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        query = "SELECT epoch_ms(tick), count(*), count(DISTINCT id) FROM read_parquet(?) GROUP BY ALL ORDER BY ALL"
        there = connection.execute(query, [files]).fetchall()
    wanted = [(int(tick.timestamp() * 1000), ROWS, ROWS) for tick in ticks]
    if there != wanted:
        lacks, besides = {*wanted} - {*there}, {*there} - {*wanted}
        yield f"at version {version} the table lacks {sorted(lacks)}, and has besides {sorted(besides)}"
