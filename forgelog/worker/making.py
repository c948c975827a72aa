"""From a stage's inputs to its rows: steps 1 to 6 of `stage`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from events.language.pipelines.commits import applied, place_label
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.sinks import DataSink, WriteMode
from events.process import faults
from forgelog.pipelines import io, quality
from forgelog.pipelines.engine import Ran, explained, lock, open_connection, run_plan
from forgelog.pipelines.engine import compile as compile_stage
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.lineage.plans import lineage_of
from forgelog.pipelines.problems import StageError
from forgelog.worker.framing import Message
from forgelog.worker.handing_on import hand_on
from forgelog.worker.inputs import Inputs, attach
from forgelog.worker.job import StageJob


def does_nothing(job: StageJob) -> bool:
    """Whether the stage has nothing to do: it is there for others to wait for."""
    stage = job.stage
    return not (stage.inputs or stage.transformations or stage.sink)


@contextmanager
def transformed(job: StageJob) -> Iterator[tuple[Any, Inputs, Ran]]:
    """Steps 1 to 4: the connection, what was read, and what was run. Raises StageError."""
    connection = open_connection(job.memory, max(1, int(job.worker.cpus)), job.scratch)
    try:
        inputs = attach(connection, job)
        lock(connection)
        plan = compile_stage(job.stage, inputs.schemas, job.values())
        yield connection, inputs, run_plan(connection, plan, scratch=job.scratch)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise explained(error) from None
    finally:
        connection.close()


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
    checked = quality.check(connection, ran.relation, stage.rules, job.dataset_rules())
    outcomes = [outcome.model_dump(mode="json") for outcome in (*inputs.outcomes, *checked.outcomes)]
    metrics = {"bytes_read": inputs.bytes, "rejected_rows": inputs.rejected + checked.quarantined}
    if (error := checked.error()) is not None:
        return {"failed": _broken(error), "outcomes": outcomes, "metrics": metrics}
    if stage.sink is None:
        output, size = hand_on(connection, checked.clean, job.scratch, job.objects)
        metrics |= {"rows_written": output.rows, "bytes_written": size}
        return {"output": output.model_dump(mode="json"), "outcomes": outcomes, "metrics": metrics}
    context = job.context()
    manifest = io.write_aside(connection, _all(checked.clean), stage.sink, job.name, context)
    refused = None
    if checked.quarantine is not None:
        beside = quarantine_of(stage.sink, manifest.base)
        refused = io.write_aside(connection, _all(checked.quarantine), beside, job.name, context)
    prepared = {
        "manifest": manifest.model_dump(mode="json"),
        "quarantine": refused.model_dump(mode="json") if refused is not None else None,
        "inputs": [read.model_dump(mode="json") for read in inputs.read],
        "lineage": lineage_of(ran).model_dump(mode="json"),
        "transformations": [each.model_dump(mode="json") for each in applied(stage.transformations)],
    }
    metrics |= {"rows_written": manifest.rows, "bytes_written": manifest.bytes}
    return {"prepared": prepared, "outcomes": outcomes, "metrics": metrics}


def quarantine_of(sink: DataSink, base: str) -> DataSink:
    """Where the rows go that a sink refuses: a dataset beside its own, or beside the one that its place is."""
    name = sink.dataset or place_label(base)
    return DataSink(type=DataSourceType.DATASET, dataset=f"{name}.quarantine", mode=WriteMode.APPEND)


def _all(relation: str) -> str:
    return f"SELECT * FROM {quoted(relation)}"


def _broken(error: StageError) -> Message:
    said = {"field": error.field[:500], "problem": error.problem[:4_000], "remedy": error.remedy[:2_000]}
    return {"kind": "rule", **said}
