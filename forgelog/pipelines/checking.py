"""Checks the SQL of a pipeline's stages without data, where it is known which columns their inputs have.

Columns are known of sources that declare them, and of stages whose transformations say them. Of others the SQL is read
only: whether it is SQL, and reads what the stage has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from events.language.common import FieldError
from events.language.pipelines.checks import sample
from events.language.pipelines.enums import PipelineEngine
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.sources import DataSource
from events.language.pipelines.stages import StageSpec
from forgelog.pipelines.engine.compiling import compile_transformations
from forgelog.pipelines.engine.plan import Schema
from forgelog.pipelines.problems import StageError

_MOMENT = datetime(2026, 5, 9, tzinfo=UTC)


def can_check() -> bool:
    """Whether DuckDB is installed, by which SQL is read."""
    return find_spec("duckdb") is not None


def sql_errors(spec: PipelineSpec) -> list[FieldError]:
    """The first thing that is wrong with the SQL of each stage. Fields begin with ``spec.stages``.

    The pipeline is one without other errors (`spec_errors`).
    """
    values: dict[str, Any] = {name: sample(each) for name, each in spec.parameters.items()}
    values |= {"interval_start": _MOMENT, "interval_end": _MOMENT}
    outputs: dict[str, Schema | None] = {}
    found: list[FieldError] = []
    places = {stage.id: number for number, stage in enumerate(spec.stages)}
    for stage in in_order(spec):
        try:
            outputs[stage.id] = _output(stage, outputs, values)
        except StageError as error:
            outputs[stage.id] = None
            path = f"spec.stages[{places[stage.id]}].{error.field}"
            found.append(FieldError(field=path, problem=error.problem[:1_000], hint=error.remedy[:1_000]))
    return sorted(found, key=lambda error: error.field)


def remarks(spec: PipelineSpec) -> list[FieldError]:
    """What has no effect, though nothing is wrong with it."""
    return [
        FieldError(field=f"spec.stages[{number}].transformations[{nth}].{field}", problem=problem, hint=hint)
        for number, stage in enumerate(spec.stages)
        for nth in range(len(stage.transformations))
        for field, problem, hint in _without_effect(stage, nth, spec.engine)
    ]


def _without_effect(stage: StageSpec, nth: int, engine: PipelineEngine) -> Iterator[tuple[str, str, str]]:
    entry = stage.transformations[nth]
    if engine is PipelineEngine.DUCKDB:
        if entry.hints.broadcast:
            yield "hints.broadcast", "does nothing on duckdb, which joins on one node", "it acts with the engine spark"
        if entry.hints.repartition:
            yield (
                "hints.repartition",
                "does nothing on duckdb, which spreads rows over its threads itself",
                "it acts with the engine spark",
            )
    if entry.sort and entry.sort.limit is None and not entry.sort.offset and nth < len(stage.transformations) - 1:
        yield "sort", "does nothing: what follows need not keep the order", "sort last, or give a limit"


def in_order(spec: PipelineSpec) -> Iterator[StageSpec]:
    """The stages, each after those that it needs."""
    stages = {stage.id: stage for stage in spec.stages}
    done: set[str] = set()
    waiting = [*reversed(spec.stages)]
    while waiting:
        stage = waiting.pop()
        if stage.id in done:
            continue
        if missing := [name for name in stage.needs() if name not in done]:
            waiting += [stage, *(stages[name] for name in missing)]
            continue
        done.add(stage.id)
        yield stage


def _output(stage: StageSpec, outputs: Mapping[str, Schema | None], values: Mapping[str, Any]) -> Schema | None:
    """The columns of a stage's rows; None if they are known when it runs only. Raises StageError."""
    if stage.job is not None or not (stage.transformations or len(stage.inputs) == 1):
        return None
    schemas: dict[str, Schema] = {}
    for name, given in stage.inputs.items():
        columns = outputs.get(given.stage) if given.source is None else _declared(given.source)
        if columns:
            schemas[name] = columns
    if stage.for_each is not None:
        values = {**values, "task": 0, "item": ""}
    plan = compile_transformations(stage.transformations, tuple(stage.inputs), schemas, values)
    # Each task of a stage may give other columns, and so may what else a stage does.
    return None if stage.for_each is not None else plan.columns


def _declared(source: DataSource) -> Schema:
    """The columns of files that say them; of other sources there may be more than are declared."""
    return (*source.columns, *source.partitions) if source.columns and source.patterns else ()
