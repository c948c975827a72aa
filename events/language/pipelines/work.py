"""What a worker is told of itself, and what it tells of a stage: its output, its figures, its failure.

`WorkerSpec` travels as JSON in the environment variable ``FORGELOG_WORKER`` of a worker's process.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier, OptionalIdentifier, Timestamp
from events.language.jobs.spec import EnvName
from events.language.objects import ObjectRef
from events.language.pipelines.columns import MAX_COLUMNS, Column
from events.language.pipelines.enums import PipelineEngine
from events.language.pipelines.lineage import LineageEdges, LineageInput
from events.language.pipelines.spark import SparkOptions

MAX_INLINE = 16 << 10
"""Most bytes of rows that a report holds. More rows are an object."""

MAX_ORIGINS = 200
"""Most places that handed on rows say they are computed from."""

MAX_VALUE = 16 << 10
"""Most characters of a value that a report holds, as JSON."""

Count = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]

Seconds = Annotated[float, Field(ge=0)]


class WorkerSpec(Model):
    """What a worker is told at its start."""

    pipeline_id: Identifier
    worker: Identifier
    """By which orders name it: the id of its job."""
    pipeline_version: Annotated[int, Field(ge=1)]
    """Version of the pipeline whose code is its working directory."""
    once: bool = False
    """Whether it ends after its first stage, as the job of one stage does."""
    watches: bool = False
    """Whether it watches topics and files for triggers, and does no stage."""
    cpus: Annotated[float, Field(gt=0, le=4096)] = 1.0
    memory_bytes: Annotated[int, Field(ge=64 << 20, le=1 << 50)] = 1 << 30
    """What a stage may hold, with the processes that it starts."""
    datasets_url: Annotated[str, StringConstraints(max_length=2_000)] = ""
    """Where the platform keeps datasets: ``file:///folder`` or ``s3://bucket/prefix``."""
    engine: PipelineEngine = PipelineEngine.DUCKDB
    spark: SparkOptions = SparkOptions()
    secret_variables: tuple[EnvName, ...] = Field(default=(), max_length=200)
    """Environment variables whose values are secrets: they are masked in what stages print and say."""
    log_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 40)] = 16 << 20
    """What is kept of a stage's log."""


class StageOutput(Model):
    """What a stage hands on to the stages that read it: rows, a value, or a version of a dataset."""

    rows: Count = 0
    columns: tuple[Column, ...] = Field(default=(), max_length=MAX_COLUMNS)
    table: ObjectRef | None = None
    """The rows as a Parquet file."""
    inline: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*=*$", max_length=MAX_INLINE * 4 // 3 + 4)] = ""
    """The rows as a Parquet file in Base64, where they are few."""
    inputs: tuple[LineageInput, ...] = Field(default=(), max_length=MAX_ORIGINS)
    """What the rows are computed from, through all stages before: places, and versions of datasets."""
    lineage: LineageEdges = LineageEdges()
    """The same by columns. It names `inputs`."""
    value: Annotated[str, StringConstraints(max_length=MAX_VALUE)] = ""
    """What a function returned that is no table, as JSON."""
    dataset_id: OptionalIdentifier = ""
    """The dataset that it wrote."""
    dataset_version: Count = 0

    @model_validator(mode="after")
    def _one_kind(self) -> StageOutput:
        given = [name for name in ("table", "inline", "value", "dataset_id") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(given)}; a stage's output is one of them")
        return self


class StageMetrics(Model):
    """What a stage has taken and made."""

    rows_read: Count = 0
    """Rows that its inputs have, each input once however many queries scan it; for a range of tasks, those of their
    parts. Of files of text, the rows that were read of them."""
    rows_written: Count = 0
    bytes_read: Count = 0
    bytes_written: Count = 0
    rejected_rows: Count = 0
    """Rows that failed a quality rule and went aside."""
    late_rows: Count = 0
    """Rows of a stream that came after their window was complete."""
    held_rows: Count = 0
    """Rows of a stream that are kept for windows that are open, or may be updated."""
    watermark: Timestamp | None = None
    """Of streams with windows, the earliest: windows that end then or before are complete."""
    seconds: Seconds = 0.0
    cpu_seconds: Seconds = 0.0
    peak_memory_bytes: Count = 0
    log_first: Count = 0
    """Where its log begins in what its worker printed to stdout, in bytes."""
    log_end: Count = 0
    """Where its log ends: one past the last byte."""
    log_dropped: Count = 0
    """Bytes that it printed beyond what is kept of a stage's log."""


class FailureKind(StrEnum):
    """What ended a stage without a result."""

    ERROR = "error"
    """Its own work: a source, a transformation or a sink."""
    RULE = "rule"
    """A quality rule that fails the pipeline."""
    TIMEOUT = "timeout"
    """It took longer than it may."""
    MEMORY = "memory"
    """It held more memory than it may."""
    CRASH = "crash"
    """Its process ended."""
    CANCELLED = "cancelled"
    """It was stopped on request."""
    LOST = "lost"
    """Its worker or its node is gone."""
    REFUSED = "refused"
    """Its job, or its worker's, was not taken or did not start."""
    CONDITION = "condition"
    """Its condition could not be evaluated."""
    COMMIT = "commit"
    """The dataset did not take its output as a version."""


class StageFailure(Model):
    """Why a stage has no result."""

    kind: FailureKind
    field: Annotated[str, StringConstraints(max_length=500)] = ""
    """Which part of the stage's description it concerns, such as ``inputs.raw.path``; empty: none."""
    problem: Annotated[str, StringConstraints(min_length=1, max_length=4_000)]
    remedy: Annotated[str, StringConstraints(max_length=2_000)] = ""
    """What to do."""
    traceback: Annotated[str, StringConstraints(max_length=8_000)] = ""
    """Where in the user's own code it failed, as Python says it; the last lines of it where it is long."""
