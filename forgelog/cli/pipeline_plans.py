"""`--dry-run` of `pipeline run`, `activate` and `backfill start`: what would be done. Sends nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from events.process.instants import instant
from forgelog.cli.common import guarded, with_client
from forgelog.cli.pipeline_samples import Asked, bound_texts, described_only, latest
from forgelog.cli.render import Column, Format, column, note, show_data, show_rows
from forgelog.errors import InvalidInput
from forgelog.units import format_bytes

if TYPE_CHECKING:
    from events.language.pipelines.backfill import BackfillRerun
    from events.language.pipelines.pipeline import PipelineSpec
    from events.language.pipelines.schedule import Interval, Schedule
    from events.language.pipelines.sources import DataSource
    from events.language.pipelines.stages import StageInput, StageSpec
    from forgelog.client.aio import AsyncClient

MOST_SHOWN = 50
"""Intervals of a backfill that a table shows."""

_COLUMNS = [
    column("Stage", least=8),
    column("After", rank=2, least=8),
    Column("Reads", lambda row: "; ".join(row["reads"]), least=16, wrap=True),
    column("Writes", rank=1, least=12, wrap=True),
    column("If", "condition", rank=2, least=8, wrap=True),
    column("Tasks", rank=3),
    column("Cache", rank=3),
]


def show_plan(asked: Asked, output: Format) -> None:
    """What a run would do: its parameters, its interval, and its stages in an order in which they may run."""
    spec, version = guarded(lambda: (described_only(asked.target)[0], 0)) if asked.file else _defined(asked)
    texts = guarded(lambda: bound_texts(spec, asked.parameters))
    interval = asked.interval or latest(spec)
    rows = list(_stage_rows(spec, texts, interval))
    if output is not Format.TABLE:
        about = [instant(each) for each in interval] if interval else None
        show_data({"version": version or None, "parameters": texts, "interval": about, "stages": rows}, output)
        return
    show_rows(rows, _COLUMNS, output)
    if texts:
        note("parameters: " + ", ".join(f"{name}={value}" for name, value in texts.items()))
    if interval:
        note(f"interval: {instant(interval[0])} to {instant(interval[1])}")
    note(f"{f'version {version}' if version else asked.target} would be {'run' if version else 'defined and run'}; "
         "nothing was sent")  # fmt: skip


def _defined(asked: Asked) -> tuple[PipelineSpec, int]:
    from events.language.pipelines.pipeline import PipelineSpec

    async def work(client: AsyncClient) -> tuple[PipelineSpec, int]:
        version = asked.version or int((await client.pipelines.get(asked.target)).version)
        found = await client.pipelines.version(asked.target, version)
        return PipelineSpec.model_validate(found.spec), version

    return with_client(work)


def _stage_rows(spec: PipelineSpec, texts: Mapping[str, str], interval: Any) -> Iterator[dict[str, Any]]:
    from forgelog.pipelines.checking import in_order

    with tempfile.TemporaryDirectory(prefix="forgelog-plan-") as folder:
        for stage in in_order(spec):
            reads = [f"{name}: {_read(given, spec, texts, interval, folder)}" for name, given in stage.inputs.items()]
            yield {
                "stage": stage.id,
                "after": stage.needs(),
                "reads": reads,
                "writes": _written(stage),
                "condition": stage.condition,
                "tasks": _tasks(stage),
                "cache": "" if stage.cache.value == "none" else f"by {stage.cache.value}",
            }


def _read(given: StageInput, spec: PipelineSpec, texts: Mapping[str, str], interval: Any, folder: str) -> str:
    if given.source is None:
        return f"stage {given.stage}"
    source = given.source
    if source.dataset:
        return f"dataset {source.dataset}" + (f" version {source.version}" if source.version else "")
    if source.type.value == "file_system":
        return _local_files(source, spec, texts, interval, folder)
    where = source.table or source.topic or " ".join(source.patterns) or "a query"
    return f"{source.type.value} {where}"


def _local_files(source: DataSource, spec: PipelineSpec, texts: Mapping[str, str], interval: Any, folder: str) -> str:
    """How many files of this machine it means now; nodes may see others."""
    from events.language.pipelines.parameters import typed
    from forgelog.pipelines import io
    from forgelog.pipelines.problems import StageError

    start, end = interval or (None, None)
    values = {"interval_start": start, "interval_end": end, **typed(spec.parameters, texts)}
    context = io.IoContext(scratch=Path(folder), parameters=values, interval_start=start, interval_end=end)
    try:
        found = io.resolve(source, context)
    except StageError as error:
        return error.problem
    number = len(found.files)
    size = format_bytes(found.bytes)
    return f"{number} {'file' if number == 1 else 'files'}, {size}{' bytes' if size.isdigit() else ''}"


def _written(stage: StageSpec) -> str:
    if stage.job is not None:
        return f"job {stage.job.metadata.name}"
    sink = stage.sink
    if sink is None:
        return ""
    place = f"dataset {sink.dataset}" if sink.dataset else f"{sink.type.value} {sink.path or sink.table or sink.topic}"
    return f"{sink.mode.value} {place}"


def _tasks(stage: StageSpec) -> str:
    each = stage.for_each
    return "" if each is None else str(each.known or f"one for each of {each.input}")


def show_backfill_plan(
    name: str,
    begin: datetime,
    end: datetime,
    rerun: str,
    parameters: Mapping[str, Any],
    output: Format,
) -> None:
    """Which intervals a backfill would run now, and how many it would pass over."""
    from events.language.pipelines.backfill import BackfillRerun
    from events.language.pipelines.pipeline import PipelineSpec

    async def work(client: AsyncClient) -> tuple[Any, list[Any]]:
        return await client.pipelines.get(name), await client.pipeline_runs.list(name)

    row, runs = with_client(work)

    def planned() -> tuple[list[Interval], int]:
        if rerun not in tuple(BackfillRerun):
            from events.language.common import shown

            raise InvalidInput(f"--rerun: {shown(rerun)} is none of {', '.join(BackfillRerun)}")
        spec = PipelineSpec.model_validate(row.spec)
        bound_texts(spec, parameters)
        if spec.schedule is None:
            raise InvalidInput(f"{name} has no schedule; give it one: a backfill runs its intervals")
        return to_run(spec.schedule, begin, end, BackfillRerun(rerun), runs)

    found, passed = guarded(planned)
    rows = [{"interval_start": each.start, "interval_end": each.end} for each in found]
    if output is not Format.TABLE:
        show_data({"intervals": rows, "passed": passed}, output)
        return
    show_rows(rows[:MOST_SHOWN], [column("From", "interval_start"), column("To", "interval_end")], output,
              empty="there is no interval to run")  # fmt: skip
    more = f", the first {MOST_SHOWN} are shown" if len(rows) > MOST_SHOWN else ""
    note(f"{len(rows)} intervals would be run{more}, {passed} have run already; nothing was sent")


def to_run(
    schedule: Schedule, begin: datetime, end: datetime, rerun: BackfillRerun, runs: Iterable[Any]
) -> tuple[list[Interval], int]:
    """The intervals, oldest first, and how many are passed over: as the pipeline decides it, from its runs. Pure."""
    from events.language.pipelines.clock import backfilling
    from events.language.pipelines.clock.coverage import Coverage
    from events.language.pipelines.clock.ticks import ScheduleError
    from events.language.pipelines.schedule import Interval
    from forgelog.client.pipeline_runs import ENDED

    tried, completed = Coverage(), Coverage()
    for run in runs:
        if run["interval_start"] is None:
            continue
        interval = Interval(start=run["interval_start"], end=run["interval_end"])
        if run["status"] in ENDED:
            tried.add(interval)
        if run["status"] == "completed":
            completed.add(interval)
    found: list[Interval] = []
    passed, cursor = 0, begin
    while True:
        try:
            step = backfilling.step(schedule, cursor, end, backfilling.MAX_INTERVALS, rerun, tried, completed)
        except ScheduleError as error:
            raise InvalidInput(f"the schedule can't be computed: {error}") from None
        found += step.run
        passed, cursor = passed + step.passed, step.cursor
        if step.exhausted:
            return found, passed
        if len(found) + passed > backfilling.MAX_INTERVALS:
            raise InvalidInput(
                f"--from: more than {backfilling.MAX_INTERVALS:,} intervals lie before --to; give a later one"
            )


def show_activation(name: str, output: Format) -> None:
    """What would start runs of a pipeline, and its next ticks."""
    from events.language.pipelines.pipeline import PipelineSpec
    from forgelog.cli.pipeline_time import TICK_COLUMNS, tick_rows

    row = with_client(lambda client: client.pipelines.get(name))
    spec = PipelineSpec.model_validate(row.spec)
    ticks: Sequence[Any] = []
    if (schedule := spec.schedule) is not None:
        ticks = guarded(lambda: tick_rows(row.name, schedule, datetime.now(UTC), 5))
    triggers = [
        {
            "name": each.name,
            "dataset": list(each.dataset.datasets) if each.dataset else [],
            "topic": each.topic.topic if each.topic else "",
            "files": each.files.path if each.files else "",
        }
        for each in spec.triggers
    ]
    if output is not Format.TABLE:
        show_data({"status": row.status, "ticks": list(ticks), "triggers": triggers}, output)
        return
    if ticks:
        show_rows(ticks, TICK_COLUMNS, output)
    for each in triggers:
        note(f"trigger {each['name']}: {awaited(each)}")
    if not ticks and not triggers:
        note("nothing would start it: it has no tick to come and no trigger")
    note(
        f"{name} is {row.status}" + (" already" if row.status == "active" else " and would be active; nothing was sent")
    )


def awaited(trigger: Mapping[str, Any]) -> str:
    """What starts a run by a trigger."""
    if trigger["topic"]:
        return f"new records of topic {trigger['topic']}"
    if trigger["files"]:
        return f"new files at {trigger['files']}"
    return f"new versions of {', '.join(trigger['dataset'])}"
