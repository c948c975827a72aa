"""A pipeline out of a template and what a use binds; and everything that is wrong with either, at once. Pure.

The service decides by it; clients ask it beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from events.language.common import MAX_COMMAND_BYTES, FieldError
from events.language.pipelines.checks import spec_errors
from events.language.pipelines.connections import FILE_PLACES, Connection, DataSourceType
from events.language.pipelines.formats import DataFormat, FileFormat
from events.language.pipelines.graph import MOST_ERRORS
from events.language.pipelines.parameters import ParameterSpec, bound
from events.language.pipelines.pipeline import Execution, PipelineSpec
from events.language.pipelines.quality import MAX_RULES, DataQualityRule, QualityRuleType, QualitySeverity
from events.language.pipelines.sinks import DataSink, WriteMode
from events.language.pipelines.sources import DataSource
from events.language.pipelines.stages import StageInput, StageSpec
from events.language.pipelines.templates import (
    PipelineTemplateSpec,
    RequiredSink,
    RequiredSource,
    UsePipelineTemplate,
)

COLUMNS_RULE: Final = "template-columns"
"""Of a bound source: each row has the columns that the template requires."""
VALUES_RULE: Final = "template-values"
"""Of a bound source: columns whose values may not be missing have them."""

_SAMPLES: dict[DataSourceType, dict[str, Any]] = {
    DataSourceType.S3: {"path": "s3://bucket/folder/"},
    DataSourceType.GCS: {"path": "gs://bucket/folder/"},
    DataSourceType.AZURE_BLOB: {"path": "az://container/folder/"},
    DataSourceType.HTTP: {"path": "https://host/folder/"},
    DataSourceType.FILE_SYSTEM: {"path": "/folder/"},
    DataSourceType.DATASET: {"dataset": "sample"},
    DataSourceType.DATABASE: {"table": "sample", "connection": Connection(url="postgresql://host/name")},
    DataSourceType.KAFKA: {"topic": "sample", "connection": Connection(url="host:9092")},
}
"""Fields of a place of each kind: a template is looked at with them where its definition has no example."""

_ONLY_APPENDED = frozenset({DataSourceType.KAFKA, DataSourceType.HTTP})


def template_errors(spec: PipelineTemplateSpec) -> list[FieldError]:
    """What is wrong with a template, at most `MOST_ERRORS`; their fields begin with ``spec``. Empty: pipelines can be
    made of it."""
    found = [*_of_places(spec)] or [in_definition(error) for error in spec_errors(sampled(spec))]
    return found[:MOST_ERRORS]


def sampled(spec: PipelineTemplateSpec) -> PipelineSpec:
    """The definition with examples in its places: its own, or any place of the kind."""
    sources = {name: _sample_source(spec, each) for name, each in spec.sources.items()}
    sinks = {name: _sample_sink(spec, each) for name, each in spec.sinks.items()}
    return _filled(spec, sources, sinks)


def in_definition(error: FieldError) -> FieldError:
    """An error of a pipeline as one of a template's definition."""
    return error.model_copy(update={"field": f"spec.definition.{error.field.removeprefix('spec.')}"})


def made(spec: PipelineTemplateSpec, use: UsePipelineTemplate) -> tuple[PipelineSpec | None, list[FieldError]]:
    """The pipeline that a use of a template asks for, or all that is wrong with the use."""
    definition = spec.definition
    errors = [*_bindings(use.sources, spec.sources, "sources"), *_bindings(use.sinks, spec.sinks, "sinks")]
    for name, source in use.sources.items():
        if name in spec.sources:
            errors += _of_source(source, spec.sources[name], f"sources.{name}")
    for name, sink in use.sinks.items():
        if name in spec.sinks:
            errors += _of_sink(sink, spec.sinks[name], f"sinks.{name}")
    open_ones = {name: each.model_copy(update={"required": False}) for name, each in definition.parameters.items()}
    errors += bound(open_ones, use.parameters)[1]
    if errors:
        return None, errors[:MOST_ERRORS]
    sources = {name: _completed(source, spec.sources[name]) for name, source in use.sources.items()}
    sinks = {
        name: sink
        if sink.format is not None or spec.sinks[name].format is None
        else sink.model_copy(update={"format": DataFormat(type=spec.sinks[name].format)})
        for name, sink in use.sinks.items()
    }
    result = _filled(spec, sources, sinks).model_copy(
        update={
            "parameters": _with_defaults(definition.parameters, use.parameters),
            "execution": _recommended(spec, use),
            "description": use.description or definition.description or spec.description,
        }
    )
    wrong = [_told(error, spec, result) for error in spec_errors(result)]
    if (size := len(result.to_json())) > MAX_COMMAND_BYTES:
        problem = f"make a pipeline of {size:,} bytes, since what is bound stands wherever it is read"
        wrong.append(_error("sources", problem, f"say less: one has at most {MAX_COMMAND_BYTES:,} bytes"))
    return (None, wrong) if wrong else (result, [])


def _of_places(spec: PipelineTemplateSpec) -> Iterator[FieldError]:
    """Requirements name stages that there are, and places that a source or a sink can have."""
    stages = {stage.id: stage for stage in spec.definition.stages}
    known = f"its stages are {', '.join(list(stages)[:20])}"
    for name, source in spec.sources.items():
        for number, each in enumerate(source.feeds):
            path = f"spec.sources.{name}.feeds[{number}]"
            stage = stages.get(each.stage)
            if stage is None:
                yield _error(f"{path}.stage", f"is {each.stage!r}, no stage of the definition", known)
            elif stage.job is not None:
                yield _error(f"{path}.stage", f"is {each.stage!r}, a job, which has no inputs", "name another stage")
            elif (given := stage.inputs.get(each.input)) is not None and given.stage:
                problem = f"is {each.input!r}, which is the output of stage {given.stage}"
                yield _error(f"{path}.input", problem, "name another input, or leave that one out of the stage")
        yield from _of_format(source, f"spec.sources.{name}")
    for name, sink in spec.sinks.items():
        path = f"spec.sinks.{name}"
        stage = stages.get(sink.stage)
        if stage is None:
            yield _error(f"{path}.stage", f"is {sink.stage!r}, no stage of the definition", known)
        elif stage.job is not None or stage.for_each is not None:
            problem = f"is {sink.stage!r}, which has no sink: it is a job, or done for each of something"
            yield _error(f"{path}.stage", problem, "name another stage")
        if sink.type in _ONLY_APPENDED and sink.mode not in (None, WriteMode.APPEND):
            yield _error(f"{path}.mode", f"is {sink.mode}, and {sink.type} only takes more", "make it append")
        yield from _of_format(sink, path)


def _of_format(required: RequiredSource | RequiredSink, path: str) -> Iterator[FieldError]:
    kind, place = required.format, required.type
    if kind is None:
        return
    if place in (DataSourceType.DATABASE, DataSourceType.DATASET):
        yield _error(f"{path}.format", f"is nothing of the type {place}", "leave it out")
    elif place is DataSourceType.KAFKA and kind is not FileFormat.JSON:
        yield _error(f"{path}.format", f"{kind} is none of Kafka's values", "choose json")


def _bindings(given: Mapping[str, object], required: Mapping[str, object], path: str) -> Iterator[FieldError]:
    what = path.removesuffix("s")
    for name in required:
        if name not in given:
            yield _error(f"{path}.{name}", "is not bound, and the template requires it", f"give the {what} {name}")
    known = f"its {path} are {', '.join(required)}" if required else "it has none"
    for name in given:
        if name not in required:
            yield _error(f"{path}.{name}", f"is no {what} that the template requires", known)


def _of_source(source: DataSource, required: RequiredSource, path: str) -> Iterator[FieldError]:
    yield from _of_type(source, required, path)
    columns = {column.name: column for column in (*source.columns, *source.partitions)}
    for wanted in required.columns if source.columns else ():
        column = columns.get(wanted.name)
        if column is None:
            problem = f"has no column {wanted.name}, and the template requires it"
            yield _error(f"{path}.columns", problem, f"add {wanted.name} of type {wanted.type}, or give no columns")
        elif column.type.upper() != wanted.type.upper():
            problem = f"has {wanted.name} of type {column.type}, and the template requires {wanted.type}"
            yield _error(f"{path}.columns", problem, f"make it {wanted.type}")
    if len(source.rules) + len(_rules(required)) > MAX_RULES:
        yield _error(f"{path}.rules", f"has {len(source.rules)} rules, which leave none to the template", "give fewer")


def _of_sink(sink: DataSink, required: RequiredSink, path: str) -> Iterator[FieldError]:
    yield from _of_type(sink, required, path)
    if required.mode is not None and sink.mode is not required.mode:
        problem = f"is {sink.mode}, and the template requires {required.mode}"
        yield _error(f"{path}.mode", problem, f"make it {required.mode}")


def _of_type(given: DataSource | DataSink, required: RequiredSource | RequiredSink, path: str) -> Iterator[FieldError]:
    if required.type is not None and given.type is not required.type:
        problem = f"is {given.type}, and the template requires {required.type}"
        yield _error(f"{path}.type", problem, f"give a place of type {required.type}")
    elif required.format is None:
        return
    elif given.type not in FILE_PLACES - {DataSourceType.DATASET} | _ONLY_APPENDED:
        problem = f"is {given.type}, and the template requires rows in {required.format}"
        yield _error(f"{path}.type", problem, "give a place that keeps files")
    elif given.format is not None and given.format.type is not required.format:
        problem = f"is {given.format.type}, and the template requires {required.format}"
        yield _error(f"{path}.format", problem, f"make it {required.format}")


def _completed(source: DataSource, required: RequiredSource) -> DataSource:
    """A bound source with the format and the rules that the template gives it."""
    said: dict[str, Any] = {"rules": (*source.rules, *_rules(required))}
    if source.format is None and required.format is not None:
        said["format"] = DataFormat(type=required.format)
    return source.model_copy(update=said)


def _rules(required: RequiredSource) -> tuple[DataQualityRule, ...]:
    """What rows of a source are held against: a rule that names a column which is not there fails the stage."""
    found = []
    if names := tuple(column.name for column in required.columns if column.nullable):
        found.append(_rule(COLUMNS_RULE, names, 0.0, QualitySeverity.INFO))
    if names := tuple(column.name for column in required.columns if not column.nullable):
        found.append(_rule(VALUES_RULE, names, 1.0, QualitySeverity.CRITICAL))
    return tuple(found)


def _rule(id: str, columns: tuple[str, ...], share: float, severity: QualitySeverity) -> DataQualityRule:
    return DataQualityRule(
        rule_id=id,
        type=QualityRuleType.COMPLETENESS,
        columns=columns,
        threshold=share,
        severity=severity,
        description="Required by the template",
    )


def _filled(
    spec: PipelineTemplateSpec, sources: Mapping[str, DataSource], sinks: Mapping[str, DataSink]
) -> PipelineSpec:
    """The definition with what is bound in its places."""
    inputs: dict[str, dict[str, StageInput]] = {}
    for name, required in spec.sources.items():
        for each in required.feeds:
            inputs.setdefault(each.stage, {})[each.input] = StageInput(source=sources[name])
    written = {required.stage: sinks[name] for name, required in spec.sinks.items()}

    def stage_of(stage: StageSpec) -> StageSpec:
        found: dict[str, Any] = {}
        if stage.id in inputs:
            found["inputs"] = {**stage.inputs, **inputs[stage.id]}
        if stage.id in written:
            found["sink"] = written[stage.id]
        return stage.model_copy(update=found) if found else stage

    stages = tuple(stage_of(stage) for stage in spec.definition.stages)
    return spec.definition.model_copy(update={"stages": stages})


def _sample_source(spec: PipelineTemplateSpec, required: RequiredSource) -> DataSource:
    """The example that the definition has, or any place of the kind."""
    stages = {stage.id: stage for stage in spec.definition.stages}
    for each in required.feeds:
        given = stages[each.stage].inputs.get(each.input)
        if given is not None and given.source is not None:
            return given.source
    kind = required.type or DataSourceType.FILE_SYSTEM
    return DataSource(type=kind, **_SAMPLES[kind])


def _sample_sink(spec: PipelineTemplateSpec, required: RequiredSink) -> DataSink:
    for stage in spec.definition.stages:
        if stage.id == required.stage and stage.sink is not None:
            return stage.sink
    kind = required.type or DataSourceType.DATASET
    mode = WriteMode.APPEND if kind in _ONLY_APPENDED else WriteMode.OVERWRITE
    return DataSink(type=kind, mode=mode, **_SAMPLES[kind])


def _with_defaults(parameters: Mapping[str, ParameterSpec], given: Mapping[str, str]) -> dict[str, ParameterSpec]:
    return {
        name: each.model_copy(update={"default": given[name]}) if name in given else each
        for name, each in parameters.items()
    }


def _recommended(spec: PipelineTemplateSpec, use: UsePipelineTemplate) -> Execution:
    """How runs are worked on: as the use says, else as is recommended, else as the definition says."""
    said: dict[str, Any] = {**spec.practices.parallelism.said(), **use.parallelism.said()}
    if (worker := use.worker or spec.practices.worker) is not None:
        said["worker"] = worker
    return spec.definition.execution.model_copy(update=said)


def _told(error: FieldError, spec: PipelineTemplateSpec, result: PipelineSpec) -> FieldError:
    """An error of the pipeline that is made, by what the use says of its place."""
    places = {(each.stage, each.input): name for name, source in spec.sources.items() for each in source.feeds}
    written = {sink.stage: name for name, sink in spec.sinks.items()}
    for number, stage in enumerate(result.stages):
        path = f"spec.stages[{number}]"
        for input in stage.inputs:
            start = f"{path}.inputs.{input}.source"
            if error.field.startswith(start) and (stage.id, input) in places:
                return error.model_copy(
                    update={"field": f"sources.{places[stage.id, input]}{error.field.removeprefix(start)}"}
                )
        if error.field.startswith(f"{path}.sink") and stage.id in written:
            rest = error.field.removeprefix(f"{path}.sink")
            return error.model_copy(update={"field": f"sinks.{written[stage.id]}{rest}"})
    return error.model_copy(update={"field": error.field.removeprefix("spec.")})


def _error(field: str, problem: str, hint: str) -> FieldError:
    return FieldError(field=field, problem=problem, hint=hint)
