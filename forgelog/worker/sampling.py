"""A stage tried on a sample, where its author sits: the same steps as in a worker, and nothing is written or published.

The stages whose rows it takes are done before it, each on a sample of its sources. What they hand on stays in a folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from events.language.objects import ObjectRef
from events.language.pipelines.columns import Column
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.parameters import typed
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.quality import RuleOutcome
from events.language.pipelines.sources import DataSource, Streaming
from events.language.pipelines.stages import StageSpec
from events.language.pipelines.work import StageOutput, WorkerSpec
from forgelog.pipelines import io, quality
from forgelog.pipelines.engine.running import Ran, describe, execute
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.io.database_drivers import table_name
from forgelog.pipelines.io.writing import check_columns
from forgelog.pipelines.problems import StageError
from forgelog.pipelines.quality import Checked
from forgelog.worker import processes
from forgelog.worker.inputs import by_files
from forgelog.worker.job import Ask, StageJob
from forgelog.worker.making import handed_on, transformed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """What a stage gave."""

    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    """The first ones of those that its rules let pass."""
    outcomes: tuple[RuleOutcome, ...]
    """Of its rules, and those of its sources."""
    problem: StageError | None = None
    """Why it would have failed all the same: a rule that is broken."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where samples are taken."""

    spec: PipelineSpec
    rows: int
    """Of each source that are read, and of the result that are kept."""
    scratch: Path
    """A folder that goes afterwards."""
    code: Path | None
    """The folder with the user's own Python."""
    texts: Mapping[str, str]
    """Parameters, bound."""
    interval: tuple[datetime, datetime] | None
    secrets: Path | None
    """The folder with a file for each secret."""
    ask: Ask
    """Answers what only the platform knows, such as where a dataset is."""
    project: str = "local/default"
    debug: bool = False


def sample(bench: Bench, stage_id: str) -> Sample:
    """Try a stage. What its code prints goes to standard error. Raises StageError, whose field begins with the stage
    that has failed, and what the user's code raises."""
    stages = {stage.id: stage for stage in bench.spec.stages}
    handed: dict[str, StageOutput] = {}
    with _bounded(bench, stage_id), _surroundings(bench):
        for id in _before(stages, stage_id):
            handed[id] = _done(bench, stages[id], handed, _handed_on)
        return _done(bench, stages[stage_id], handed, _shown)


def _before(stages: Mapping[str, StageSpec], stage_id: str) -> list[str]:
    """The stages whose rows a stage takes, at first or second hand, each after those that it takes rows of."""
    found: dict[str, None] = {}

    def visit(id: str) -> None:
        for given in stages[id].inputs.values():
            if given.stage and given.stage not in found:
                visit(given.stage)
                found[given.stage] = None

    visit(stage_id)
    return list(found)


_LOOK_SECONDS = 0.1


@contextmanager
def _bounded(bench: Bench, stage_id: str) -> Iterator[None]:
    """End this process, with all below it, when it holds more than its pipeline's workers may: nothing else stops code
    that takes all the memory of the machine."""
    me, ended = os.getpid(), threading.Event()
    most = processes.memory_of([me], 0) + bench.spec.execution.worker.memory_bytes

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            held = processes.memory_of([me, *processes.descendants(me)], most)
            if held > most:
                shutil.rmtree(bench.scratch, ignore_errors=True)
                said = f"{stage_id}: resources.memory_bytes: {held >> 20} MiB are held; {most >> 20} MiB may be"
                print(f"{said}; let it take less at a time, or give workers more", file=sys.__stderr__, flush=True)
                processes.end_below(me)
                os._exit(1)

    looking = threading.Thread(target=look, name="memory of the sample", daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


@contextmanager
def _surroundings(bench: Bench) -> Iterator[None]:
    """As in a worker: its folder, its variables, and the user's code behind the libraries."""
    before, path = dict(os.environ), list(sys.path)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))
        os.environ.update(bench.spec.execution.variables)
        if bench.code is not None:
            stack.enter_context(chdir(bench.code))
            sys.path.insert(0, str(bench.code))
        try:
            yield
        finally:
            sys.path[:] = path
            os.environ.clear()
            os.environ.update(before)


def _done(
    bench: Bench,
    stage: StageSpec,
    handed: Mapping[str, StageOutput],
    end: Callable[[Any, StageJob, Ran, Checked, tuple[RuleOutcome, ...]], T],
) -> T:
    """What `end` makes of a stage's rows: (the connection, the job, what was run, its rules, outcomes of sources)."""
    if stage.job is not None:
        raise StageError(f"{stage.id}.job", "is a job, which has no rows to show", "submit it: forgelog submit")
    scratch = bench.scratch / stage.id
    scratch.mkdir(mode=0o700, parents=True)
    try:
        job = _first_task(_job(bench, stage, handed, scratch))
        with transformed(job) as (connection, inputs, ran):
            checked = quality.check(connection, ran.relation, stage.rules)
            if stage.sink is not None:
                try:
                    check_columns(stage.sink, describe(connection, checked.clean))
                except StageError as error:
                    raise error.below("sink") from None
            return end(connection, job, ran, checked, tuple(inputs.outcomes))
    except StageError as error:
        raise error.below(stage.id) from error.__cause__


def _handed_on(connection: Any, job: StageJob, ran: Ran, checked: Checked, _: Any) -> StageOutput:
    if (problem := checked.error()) is not None:
        raise problem
    output, _size = handed_on(connection, job, ran, checked.clean, most_inline=0)
    return output


def _shown(connection: Any, job: StageJob, _: Ran, checked: Checked, outcomes: tuple[RuleOutcome, ...]) -> Sample:
    columns = describe(connection, checked.clean)
    found = execute(connection, f"SELECT * FROM {quoted(checked.clean)} LIMIT {job.most_rows}")
    rows = [dict(zip([column.name for column in columns], row, strict=True)) for row in found]
    return Sample(columns, rows, (*outcomes, *checked.outcomes), checked.error())


def _job(bench: Bench, stage: StageSpec, handed: Mapping[str, StageOutput], scratch: Path) -> StageJob:
    worker = bench.spec.execution.worker
    inputs = {
        name: given if given.source is None else given.model_copy(update={"source": sampled(given.source, bench.rows)})
        for name, given in stage.inputs.items()
    }
    return StageJob(
        phase="run",
        run_id="sample",
        attempt=1,
        stage=stage.model_copy(update={"inputs": inputs}),
        worker=WorkerSpec(
            pipeline_id="sample",
            worker="sample",
            pipeline_version=1,
            cpus=worker.cpus,
            memory_bytes=worker.memory_bytes,
            engine=bench.spec.engine,
            spark=bench.spec.spark,
        ),
        project=bench.project,
        scratch=scratch,
        secrets=bench.secrets,
        parameters=typed(bench.spec.parameters, bench.texts),
        interval=bench.interval,
        inputs={name: (handed[given.stage],) for name, given in stage.inputs.items() if given.stage in handed},
        manifest=None,
        quarantine=None,
        dataset_version=0,
        ask=bench.ask,
        texts=dict(bench.texts),
        memory=worker.memory_bytes,
        debug=bench.debug,
        most_rows=bench.rows,
        store=ObjectFolder(bench.scratch),
    )


def _first_task(job: StageJob) -> StageJob:
    """Of a stage that is done for each of something: its first task."""
    each = job.stage.for_each
    if each is None:
        return job
    item = each.items[0] if each.items else None
    source = job.stage.inputs[each.input].source if each.input else None
    if source is not None and by_files(source):
        try:
            item = io.resolve(source, job.context()).files[0].url
        except StageError as error:
            raise error.below(f"inputs.{each.input}") from None
    return replace(job, task=0, item=item)


def sampled(source: DataSource, rows: int) -> DataSource:
    """The source, of which a place that can be asked for less gives no more than so many rows. Pure."""
    if source.type is DataSourceType.DATABASE:
        inner = source.query.rstrip().rstrip(";") or f"SELECT * FROM {table_name(source.table)}"
        query = f"SELECT * FROM ({inner}\n) AS forgelog_sample LIMIT {rows}"
        return source.model_copy(update={"table": "", "query": query})
    if source.type is DataSourceType.KAFKA:
        streaming = source.streaming or Streaming()
        least = min(rows, streaming.max_records)
        return source.model_copy(update={"streaming": streaming.model_copy(update={"max_records": least})})
    return source


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """Holds what the stages of one sample hand on."""

    folder: Path

    def put(self, ref: ObjectRef, opened: Callable[[], BinaryIO]) -> None:
        with opened() as source, (self.folder / ref.digest).open("wb") as target:
            shutil.copyfileobj(source, target)

    def get(self, ref: ObjectRef, opened: Callable[[], BinaryIO]) -> None:
        with (self.folder / ref.digest).open("rb") as source, opened() as target:
            shutil.copyfileobj(source, target)
