"""From a stage's inputs to its rows: steps 1 to 6 of `stage`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from events.language.pipelines.commits import applied, place_label
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.enums import PipelineEngine
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.quality import DataQualityRule
from events.language.pipelines.sinks import DataSink, OverwriteScope, WriteMode
from events.language.pipelines.sources import QUARANTINE
from events.language.pipelines.stages import StageSpec
from events.language.pipelines.transformations import CacheLevel
from events.language.pipelines.work import MAX_INLINE, FailureKind, StageOutput
from events.process import faults
from forgelog.pipelines import io, quality
from forgelog.pipelines.engine import Plan, Ran, allow, explained, lock, open_connection, run_plan
from forgelog.pipelines.engine import compile as compile_stage
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.lineage.plans import lineage_of
from forgelog.worker.counting import Counting
from forgelog.worker.debugging import tell_inputs, tell_plan
from forgelog.worker.failing import failure_of
from forgelog.worker.framing import Message
from forgelog.worker.handing_on import hand_on
from forgelog.worker.inputs import Inputs, attach
from forgelog.worker.job import StageJob
from forgelog.worker.manifests import carried
from forgelog.worker.origins import Origins, through


def does_nothing(job: StageJob) -> bool:
    """Whether the stage has nothing to do: it is there for others to wait for."""
    stage = job.stage
    return not (stage.inputs or stage.transformations or stage.sink)


@contextmanager
def transformed(job: StageJob) -> Iterator[tuple[Any, Inputs, Ran]]:
    """Steps 1 to 4: the connection, what was read, and what was run. Raises StageError."""
    share = 1 if job.worker.engine is PipelineEngine.DUCKDB else 4
    connection = Counting(open_connection(job.memory // share, max(1, int(job.worker.cpus)), job.scratch))
    try:
        inputs = attach(connection, job)
        with _computed_by(job, connection) as compute:
            lock(connection)
            if job.debug:
                tell_inputs(inputs)
            plan = compile_stage(job.stage, inputs.schemas, job.values())
            if job.debug:
                tell_plan(plan)
            yield connection, inputs, compute(plan)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise explained(error) from None
    finally:
        connection.close()


@contextmanager
def _computed_by(job: StageJob, connection: Any) -> Iterator[Callable[[Plan], Ran]]:
    """What runs a plan: DuckDB itself, or Spark."""
    values = _may_be_a_value(job.stage)
    if job.worker.engine is PipelineEngine.DUCKDB:
        keep = CacheLevel.MEMORY if _read_again(job.stage) else CacheLevel.NONE
        yield lambda plan: run_plan(connection, plan, scratch=job.scratch, keep=keep, values=values)
        return
    from forgelog.pipelines.engine import spark

    options = job.worker.spark
    session = spark.open_session(
        remote=options.remote,
        cores=max(1, int(job.worker.cpus)),
        memory_bytes=job.memory // 2,
        executors=job.stage.executors,
        settings=options.settings,
        scratch=job.scratch.parent,
    )
    with tempfile.TemporaryDirectory(dir=options.folder or job.scratch, ignore_cleanup_errors=True) as folder:
        allow(connection, [f"{folder}/"])
        yield lambda plan: spark.run_plan(session, connection, plan, scratch=Path(folder), values=values)


def _read_again(stage: StageSpec) -> bool:
    """Whether the rows are read more than once: what the sink looks at before it writes must be what it writes. Rules
    keep the rows that they are held against by themselves."""
    sink = stage.sink
    if sink is None or any(rule.enabled for rule in stage.rules):
        return False
    return bool(sink.partition_by) or sink.mode is WriteMode.UPSERT


def _may_be_a_value(stage: StageSpec) -> bool:
    """Whether the stage may hand on a plain value: nothing of it needs rows."""
    return stage.sink is None and stage.for_each is None and not stage.rules


def handed_on(
    connection: Any, job: StageJob, ran: Ran, rows: str, most_inline: int = MAX_INLINE
) -> tuple[StageOutput, int]:
    """What a stage without a sink hands on, and how many bytes that has: its value, or the relation `rows`."""
    if ran.value:
        return StageOutput(value=ran.value), len(ran.value)
    return hand_on(connection, rows, job.scratch, job.objects, most_inline)


def checked(
    connection: Any, ran: Ran, rules: Sequence[DataQualityRule], own: Sequence[tuple[DataQualityRule, int]] = ()
) -> quality.Checked:
    """Step 5: see `quality.check`. It computes the rows, so what is wrong with them is said by their transformation.
    Raises StageError."""
    try:
        return quality.check(connection, ran.relation, rules, own)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        relations = ran.plan.relations
        raise explained(error, relations[-1].path if relations else f"inputs.{ran.plan.output}") from None


def run(job: StageJob) -> Message:
    """All six."""
    if does_nothing(job):
        return {"output": {}}
    with transformed(job) as (connection, inputs, ran):
        faults.point(faults.MID_STAGE)
        done = _keep(connection, job, inputs, ran)
    if "prepared" in done:
        faults.point(faults.AFTER_ASIDE)
    return done


def _keep(connection: Any, job: StageJob, inputs: Inputs, ran: Ran) -> Message:
    """Steps 5 and 6."""
    stage = job.stage
    asked = job.dataset_rules()
    found = checked(connection, ran, stage.rules, asked.rules)
    outcomes = [outcome.model_dump(mode="json") for outcome in (*inputs.outcomes, *found.outcomes)]
    rejected = inputs.rejected + found.quarantined
    metrics = {"bytes_read": inputs.bytes, "rejected_rows": rejected, **inputs.metrics}
    said = {"outcomes": outcomes, "metrics": metrics}
    if (error := found.error()) is not None:
        metrics["rows_read"] = inputs.rows
        return {"failed": {**failure_of(error), "kind": FailureKind.RULE}, **said}
    if inputs.streams:
        said["streams"] = [each.model_dump(mode="json") for each in inputs.streams]
    if stage.sink is None:
        output, size = handed_on(connection, job, ran, found.clean)
        output = output.model_copy(update=origins(inputs, ran).handed_on())
        metrics |= {"rows_read": inputs.rows, "rows_written": output.rows, "bytes_written": size}
        return {"output": output.model_dump(mode="json"), **said}
    context = job.context()
    with _all_or_none(context) as aside:
        manifest = io.write_aside(connection, _all(found.clean), stage.sink, job.name, context, asked.required)
        aside.append((stage.sink, manifest))
        refused = None
        if (rows := quality.with_rows_of_inputs(connection, found, inputs.aside)) is not None:
            beside = quarantine_of(stage.sink, manifest.base)
            refused = io.write_aside(connection, rows, beside, job.name, context)
            aside.append((beside, refused))
        made_of = origins(inputs, ran)
        prepared = {
            "manifest": _carried(manifest, job),
            "quarantine": _carried(refused, job) if refused is not None else None,
            "inputs": [read.model_dump(mode="json") for read in made_of.inputs],
            "lineage": made_of.lineage.model_dump(mode="json"),
            "transformations": [each.model_dump(mode="json") for each in applied(stage.transformations)],
        }
    metrics |= {"rows_read": inputs.rows, "rows_written": manifest.rows, "bytes_written": manifest.bytes}
    return {"prepared": prepared, **said}


@contextmanager
def _all_or_none(context: IoContext) -> Iterator[list[tuple[DataSink, CommitManifest]]]:
    """Takes what is listed of the attempt away again where it fails: nobody knows of it, so nobody would publish it."""
    aside: list[tuple[DataSink, CommitManifest]] = []
    try:
        yield aside
    except Exception:
        io.discard_all(aside, context)
        raise


def _carried(manifest: CommitManifest, job: StageJob) -> Message:
    return carried(manifest, job.scratch, job.objects).model_dump(mode="json")


def origins(inputs: Inputs, ran: Ran) -> Origins:
    """What the rows are computed from."""
    if not inputs.read and not inputs.taken:
        return Origins()
    return through(inputs.read, lineage_of(ran), inputs.taken)


def quarantine_of(sink: DataSink, base: str) -> DataSink:
    """Where the rows go that a sink refuses: a dataset beside its own, or beside the one that its place is. A version
    that replaces all rows replaces those set aside too; one that adds to them adds to these."""
    name = sink.dataset or sink.id or place_label(base)
    whole = sink.mode is WriteMode.OVERWRITE and sink.scope is OverwriteScope.TABLE
    mode = WriteMode.OVERWRITE if whole else WriteMode.APPEND
    return DataSink(type=DataSourceType.DATASET, dataset=f"{name}{QUARANTINE}", mode=mode)


def _all(relation: str) -> str:
    return f"SELECT * FROM {quoted(relation)}"
