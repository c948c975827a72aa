"""What the types of a pipeline's fields can't say: everything that is wrong with it as a whole, at once. Pure.

The service refuses a definition by it; clients ask it beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from events.language.common import FieldError
from events.language.pipelines.clock import validity
from events.language.pipelines.conditions import problems as condition_problems
from events.language.pipelines.enums import PipelineEngine, RunWhen, StageCache, StageExecution
from events.language.pipelines.graph import MOST_ERRORS, graph_errors
from events.language.pipelines.parameters import ParameterSpec, ParameterType, spec_problems, typed
from events.language.pipelines.pipeline import PipelineSpec, secrets_of
from events.language.pipelines.sinks import WriteMode
from events.language.pipelines.sources import QUARANTINE, LatePolicy, Streaming
from events.language.pipelines.stages import StageSpec
from events.language.pipelines.transformations import chain_problems

MAX_SECRETS, MAX_VARIABLES, MAX_LABELS = 100, 1_000, 64
"""Of a job."""
_RUN_VARIABLES, _RUN_LABELS = 5, 2
"""Those that tell a stage's job of its run, beside parameters."""
RECORD_TIME = "_timestamp"
"""The record's own time, which every record of a topic has."""
_WITH_WINDOWS = ("event_time", "delay_seconds", "idle_seconds", "late", "update_seconds")
"""What of a stream says nothing unless it has windows."""

_SAMPLES: dict[ParameterType, Any] = {
    ParameterType.STRING: "text",
    ParameterType.INTEGER: 1,
    ParameterType.NUMBER: 1.0,
    ParameterType.BOOLEAN: True,
    ParameterType.DATE: date(2026, 5, 9),
    ParameterType.TIMESTAMP: datetime(2026, 5, 9, tzinfo=UTC),
}


def spec_errors(spec: PipelineSpec) -> list[FieldError]:
    """What is wrong with a pipeline, at most `MOST_ERRORS`; their fields begin with ``spec``. Empty: it can be run."""
    errors = [
        *graph_errors(spec.stages),
        *spec_problems(spec.parameters, "spec.parameters"),
        *validity.problems(spec.schedule, spec.sla),
        *validity.unfilled(spec.parameters, spec.schedule, spec.triggers),
        *validity.triggers_named(spec.triggers),
    ]
    stages = {stage.id: stage for stage in spec.stages}
    samples = {name: sample(each) for name, each in spec.parameters.items()}
    errors += _of_secrets(spec)
    errors += _of_triggers(spec)
    errors += _of_windows(spec)
    written: dict[str, str] = {}
    for number, stage in enumerate(spec.stages):
        other = written.setdefault(stage.id.replace("_", "-"), stage.id)
        if other != stage.id:
            problem = f"differs from that of stage {other} only by _ and -, and ids of their jobs would be the same"
            errors.append(_error(f"spec.stages[{number}].id", problem, "give it another id"))
        errors += _of_job(stage, len(spec.parameters), f"spec.stages[{number}].job")
        errors += _of_stage(stage, stages, samples, f"spec.stages[{number}]")
        errors += _of_executors(stage, spec, f"spec.stages[{number}].executors")
    return errors[:MOST_ERRORS]


def _of_stage(
    stage: StageSpec, stages: dict[str, StageSpec], samples: dict[str, Any], path: str
) -> Iterator[FieldError]:
    needs = stage.needs()
    if stage.condition:
        yield from condition_problems(stage.condition, needs, samples, f"{path}.condition")
    if not needs and stage.run_when is not RunWhen.ALL_OK:
        yield _error(
            f"{path}.run_when", f"is {stage.run_when}, and it waits for no stage", "leave it out, or give after"
        )
    for name, given in stage.inputs.items():
        source = stages.get(given.stage)
        if source is not None and source.job is not None:
            hint = "take the output of a stage that has one, or name it in after"
            yield _error(f"{path}.inputs.{name}.stage", f"is {given.stage!r}, a job, which has no output", hint)
    if stage.transformations:
        yield from chain_problems(stage.transformations, tuple(stage.inputs), f"{path}.transformations")
    elif stage.sink is not None and len(stage.inputs) != 1:
        problem = f"has no transformation, and {len(stage.inputs)} inputs; what it writes can't be told"
        yield _error(f"{path}.transformations", problem, "give one input, or a transformation")
    if stage.sink is not None and stage.sink.dataset.endswith(QUARANTINE):
        own = stage.sink.dataset.removesuffix(QUARANTINE)
        problem = f"is {stage.sink.dataset!r}, the rows that rules set aside from {own}: its own stages keep them"
        yield _error(f"{path}.sink.dataset", problem, f"name another dataset, such as {own}-refused")
    if stage.parallelism is not None and stage.for_each is None:
        yield _error(f"{path}.parallelism", "is nothing of a stage without for_each", "leave it out, or give for_each")
    wanted = stage.resources
    more = stage.execution is StageExecution.OWN or wanted.gpus or wanted.cpus or wanted.memory_bytes
    if stage.for_each is not None and more:
        hint = "leave it out, and give execution.worker what a task needs"
        yield _error(f"{path}.resources", "is of a stage whose tasks are done by the pipeline's workers", hint)
    if stage.cache is StageCache.CONTENT and stage.for_each is not None:
        yield _error(f"{path}.cache", "is content, and its tasks are not kept", "leave it out")
    if stage.job is not None and stage.execution is StageExecution.SHARED and stage.resources.gpus:
        yield _error(f"{path}.resources", "is nothing of a stage that is a job", "give job.resources")


def _of_executors(stage: StageSpec, spec: PipelineSpec, path: str) -> Iterator[FieldError]:
    if not stage.executors:
        return
    if spec.engine is not PipelineEngine.SPARK:
        problem = f"is {stage.executors}, and the engine is {spec.engine.value}, which has none"
        yield _error(path, problem, "leave it out, or set engine to spark")
    elif spec.spark.remote:
        problem = f"is {stage.executors}, and stages run on the server {spec.spark.remote}, which has its own"
        yield _error(path, problem, "leave it out, and give the server more")


def _of_triggers(spec: PipelineSpec) -> Iterator[FieldError]:
    """Sources and the triggers that find what they read."""
    sources = [
        (f"spec.stages[{number}].inputs.{name}.source", given.source)
        for number, stage in enumerate(spec.stages)
        for name, given in stage.inputs.items()
        if given.source is not None
    ]
    files = {trigger.name: trigger.files for trigger in spec.triggers if trigger.files is not None}
    for path, source in sources:
        if not source.trigger:
            continue
        watched = files.get(source.trigger)
        if watched is None:
            known = ", ".join(files) or "there is none"
            yield _error(f"{path}.trigger", f"is {source.trigger!r}, no trigger of files", f"name one ({known})")
        elif (watched.type, watched.connection, watched.path) != (source.type, source.connection, source.path):
            problem = f"is {source.trigger!r}, which watches another place than the source's"
            yield _error(f"{path}.trigger", problem, "give both the same type, connection and path")
    read = {(source.connection.url, source.topic) for _, source in sources if source.topic}
    watching: dict[tuple[str, str], str] = {}
    for number, trigger in enumerate(spec.triggers):
        for at, dataset in enumerate(trigger.dataset.datasets if trigger.dataset is not None else ()):
            if dataset.endswith(QUARANTINE):
                problem = f"is {dataset!r}, which has no versions of its own"
                hint = f"name {dataset.removesuffix(QUARANTINE)}: its versions bring the rows that rules set aside"
                yield _error(f"spec.triggers[{number}].dataset.datasets[{at}]", problem, hint)
        if (topic := trigger.topic) is None:
            continue
        place = (topic.connection.url, topic.topic)
        if place in watching:
            problem = f"is {topic.topic!r}, which trigger {watching[place]} watches"
            yield _error(
                f"spec.triggers[{number}].topic.topic", problem, "leave one of them out: both have its records"
            )
        watching.setdefault(place, trigger.name)
        if place not in read and all(stage.job is None for stage in spec.stages):
            problem = f"is {topic.topic!r}, and no stage has a source of this topic and connection.url"
            yield _error(
                f"spec.triggers[{number}].topic.topic", problem, "let a stage read it: runs are given its records"
            )


def _of_windows(spec: PipelineSpec) -> Iterator[FieldError]:
    """Streams with windows, their triggers and their sinks."""
    watched = {(each.topic.connection.url, each.topic.topic) for each in spec.triggers if each.topic is not None}
    for number, stage in enumerate(spec.stages):
        for name, given in stage.inputs.items():
            source = given.source
            if source is None or source.streaming is None:
                continue
            path, late = f"spec.stages[{number}].inputs.{name}.source.streaming", source.streaming.late
            if source.streaming.windows is None:
                for field in _WITH_WINDOWS:
                    if getattr(source.streaming, field) != Streaming.model_fields[field].default:
                        yield _error(f"{path}.{field}", "is nothing without windows", "give windows, or leave it out")
                continue
            if (source.connection.url, source.topic) not in watched:
                problem = f"are over {source.topic!r}, which no trigger watches: nothing tells where a batch ends"
                yield _error(f"{path}.windows", problem, "give the pipeline a trigger of the topic and connection.url")
            known, time = [each.name for each in source.columns], source.streaming.event_time
            fits = time is None or time == RECORD_TIME or time.casefold() in {each.casefold() for each in known}
            if known and not fits:
                problem = f"is {time!r}, which is none of the source's columns: {', '.join(known[:50])}"
                yield _error(f"{path}.event_time", problem, "name one of them, or give it in columns too")
            if stage.for_each is not None:
                yield _error(f"{path}.windows", "are of a stage with for_each", "let a stage before it have them")
            if late is LatePolicy.UPDATE and (stage.sink is None or stage.sink.mode is not WriteMode.UPSERT):
                problem = "is update, and the stage's sink is none that puts a window in its earlier one's place"
                yield _error(
                    f"{path}.late", problem, "give the stage a sink of mode upsert, with _window_start as a key"
                )
            if late is LatePolicy.SIDE and stage.sink is None:
                yield _error(f"{path}.late", "is side, and the stage has no sink", "give it one, or choose drop")


def _of_secrets(spec: PipelineSpec) -> Iterator[FieldError]:
    """Workers have the secrets of all stages."""
    if (count := len(secrets_of(spec))) > MAX_SECRETS:
        problem = f"and the connections of the stages name {count} secrets, and a worker has at most {MAX_SECRETS}"
        yield _error("spec.execution.secrets", problem, "let connections share secrets, or make several pipelines")


def _of_job(stage: StageSpec, parameters: int, path: str) -> Iterator[FieldError]:
    """A stage's job is told of its run by variables and labels."""
    if stage.job is None:
        return
    variables = len(stage.job.environment.variables)
    if variables + parameters + _RUN_VARIABLES > MAX_VARIABLES:
        problem = f"has {variables} variables, and {parameters + _RUN_VARIABLES} more tell it of its run"
        yield _error(f"{path}.environment.variables", problem, f"a job has at most {MAX_VARIABLES}: leave some out")
    if (labels := len(stage.job.metadata.labels)) + _RUN_LABELS > MAX_LABELS:
        problem = f"has {labels} labels, and {_RUN_LABELS} more tell of its run"
        yield _error(f"{path}.metadata.labels", problem, f"a job has at most {MAX_LABELS}: leave some out")


def sample(spec: ParameterSpec) -> Any:
    """A value as a parameter may have."""
    if spec.default is not None:
        found = typed({"it": spec}, {"it": spec.default})["it"]
        return _SAMPLES[spec.type] if found is None else found
    return _SAMPLES[spec.type]


def _error(field: str, problem: str, hint: str) -> FieldError:
    return FieldError(field=field, problem=problem, hint=hint)


def summary(errors: list[FieldError], what: str) -> str:
    """Errors in a sentence."""
    first = f"{errors[0].field} {errors[0].problem}"
    return first if len(errors) == 1 else f"{what} has {len(errors)} errors; the first: {first}"
