"""What a worker is told of a stage. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from events.language.pipelines.enums import StageCache, StagePhase
from events.language.pipelines.lineage import LineageEdges
from events.language.pipelines.run_events import GivenInput, StageDispatched
from events.language.pipelines.sources import QUARANTINE
from events.language.pipelines.stages import StageSpec
from events.log.ids import named_id
from services.pipelines.pipeline.state import Pipeline, Run, Stage
from services.pipelines.triggers import batches

_OF_THE_FIRST = {"columns": (), "inputs": (), "lineage": LineageEdges()}


def phase_of(spec: StageSpec, stage: Stage) -> StagePhase:
    if stage.dataset_version:
        return StagePhase.PUBLISH
    if spec.cache is StageCache.CONTENT and not stage.resolved:
        return StagePhase.RESOLVE
    each = spec.for_each
    if each is not None and each.input and not spec.inputs[each.input].stage and stage.tasks is None:
        return StagePhase.RESOLVE
    return StagePhase.RUN


def order(
    state: Pipeline,
    names: dict[str, str],
    run: Run,
    spec: StageSpec,
    stage: Stage,
    worker: str,
    attempt: int,
    **more: Any,
) -> StageDispatched:
    phase = phase_of(spec, stage)
    commit = stage.commit if phase is StagePhase.PUBLISH else None
    said: dict[str, Any] = {}
    if commit is not None:
        said = {
            "manifest": commit.manifest,
            "quarantine": commit.quarantine,
            "dataset_id": commit.dataset_id,
            "dataset_version": stage.dataset_version,
        }
    else:
        said["inputs"] = tuple(_inputs(spec, run))
        said |= _arrivals(state, spec, run)
        said["datasets"] = _at_least(state, spec, run)
    return StageDispatched(
        **names,
        stage_id=spec.id,
        attempt=attempt,
        worker=worker,
        phase=phase,
        pipeline_version=run.version,
        parameters=run.parameters,
        interval_start=run.interval_start,
        interval_end=run.interval_end,
        debug=run.debug,
        **said,
        **more,
    )


def _at_least(state: Pipeline, spec: StageSpec, run: Run) -> dict[str, int]:
    """The versions that a stage sees at least of datasets whose newest one it reads: those that a trigger started the
    run for, and those that stages of the run have published since. Tables may be behind both."""
    found = dict(run.datasets)
    names = {each.source.dataset.removesuffix(QUARANTINE) for each in spec.inputs.values() if each.source is not None}
    read = {name if "." in name else named_id(name, state.project) for name in names if name}
    if not read:
        return found
    for stage in run.stages.values():
        for made in stage.outputs[:1]:
            if made.dataset_id in read:
                found[made.dataset_id] = max(found.get(made.dataset_id, 0), made.dataset_version)
    return found


def _arrivals(state: Pipeline, spec: StageSpec, run: Run) -> dict[str, Any]:
    """What a stage's sources read of what the run was given."""
    sources = [each.source for each in spec.inputs.values() if each.source is not None]
    topics = {(source.connection.url, source.topic) for source in sources if source.topic}
    triggers = {source.trigger for source in sources}
    return {
        "topics": tuple(each for each in run.topics if (each.url, each.topic) in topics),
        "files": tuple(each for each in run.files if each.trigger in triggers),
        "streams": tuple(batches.left(state.triggers, spec, run.topics)),
    }


def _inputs(spec: StageSpec, run: Run) -> Iterator[GivenInput]:
    for name, given in spec.inputs.items():
        if given.stage:
            for part, output in enumerate(run.stages[given.stage].outputs):
                # Of thousands of parts the first one says what columns there are, and what they are computed from.
                yield GivenInput(name=name, output=output.model_copy(update=_OF_THE_FIRST) if part else output)
