"""The tables of pipelines and their versions, and how events change them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from events.language.pipelines.answers import Pipeline, PipelineVersion
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.events import (
    PipelineActivated,
    PipelineDefined,
    PipelineEvent,
    PipelinePaused,
    PipelineResumed,
    PipelineRetired,
)
from events.language.pipelines.pipeline import bundles_of
from events.language.pipelines.run_events import (
    RunCancelled,
    RunCompleted,
    RunEnded,
    RunFailed,
    RunQueued,
    StageCompleted,
)
from events.log.envelope import Recorded
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import holder, put_references, reference_keys
from events.projections.row_models import table_of
from services.pipelines.clock import rows as clock
from services.pipelines.triggers import rows as triggers

PIPELINES = table_of(
    Pipeline,
    "pipelines",
    key=("pipeline_id",),
    indexes=("created_at desc, pipeline_id desc", "project, name"),
    born="created_at",
)

VERSIONS = table_of(PipelineVersion, "pipeline_versions", key=("pipeline_id", "version"))

TABLES = (PIPELINES, VERSIONS)

END_STATUS: Mapping[type[RunEnded], PipelineStatus] = {
    RunCompleted: PipelineStatus.COMPLETED,
    RunFailed: PipelineStatus.FAILED,
    RunCancelled: PipelineStatus.CANCELLED,
}


_LISTENING = frozenset({PipelineStatus.ACTIVE.value, PipelineStatus.PAUSED.value})
"""How a pipeline stands whose triggers listen."""


def touched(event: PipelineEvent | RunQueued | RunEnded | StageCompleted) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    yield PIPELINES, (event.pipeline_id,)
    if isinstance(event, PipelineDefined):
        yield VERSIONS, (event.pipeline_id, event.pipeline_version)
        yield from reference_keys(holder(event), bundles_of(event.spec))


def put(recorded: Recorded, event: PipelineEvent | RunQueued | RunEnded | StageCompleted, rows: Rows) -> None:
    found = rows.get(PIPELINES, (event.pipeline_id,))
    if isinstance(event, PipelineDefined):
        rows.put(PIPELINES, _defined(recorded, event, found))
        rows.put(VERSIONS, _version(recorded, event))
        put_references(rows, holder(event), bundles_of(event.spec), bundle=True)
        return
    assert found is not None, "the decider lets nothing come before the definition"
    change = {**_change(recorded, event), **clock.of_pipeline(event, found)}
    change |= triggers.of_pipeline(recorded, event, found)
    rows.put(PIPELINES, {**found, **change, "updated_at": recorded.meta.time})


def _defined(recorded: Recorded, event: PipelineDefined, found: Row | None) -> Row:
    time = recorded.meta.time
    said: dict[str, Any] = {
        "owner": recorded.meta.actor,
        "version": event.pipeline_version,
        "spec": event.spec.model_dump(mode="json"),
        "note": event.note,
        "parent": event.parent,
        "template": _template(event),
        "stages": len(event.spec.stages),
        "updated_at": time,
    }
    if found is not None and found["status"] != PipelineStatus.CANCELLED.value:
        names = {trigger.name for trigger in event.spec.triggers}
        troubles = [each for each in found["trigger_troubles"] if each["trigger"] in names]
        progress = found["stream_progress"]
        if found["status"] in _LISTENING:
            progress = triggers.still_watched(progress, said["spec"])
        changed = {"schedule_problem": "", "trigger_troubles": troubles, "stream_progress": progress}
        return {**found, **said, **changed}
    return PIPELINES.first(
        pipeline_id=event.pipeline_id,
        project=event.project,
        name=event.name,
        status=PipelineStatus.DRAFT.value,
        created_at=time if found is None else found["created_at"],
        runs=0 if found is None else found["runs"],
        **said,
    )


def _template(event: PipelineDefined) -> Any:
    return None if event.template is None else event.template.model_dump(mode="json")


def _version(recorded: Recorded, event: PipelineDefined) -> Row:
    return VERSIONS.first(
        pipeline_id=event.pipeline_id,
        version=event.pipeline_version,
        project=event.project,
        spec=event.spec.model_dump(mode="json"),
        note=event.note,
        parent=event.parent,
        template=_template(event),
        author=recorded.meta.actor,
        defined_at=recorded.meta.time,
    )


def _change(recorded: Recorded, event: PipelineEvent | RunQueued | RunEnded | StageCompleted) -> Row:
    """What an event changes in its pipeline's row."""
    time = recorded.meta.time
    match event:
        case RunQueued():
            queued = PipelineStatus.QUEUED.value
            return {"runs": event.number, "last_run_status": queued, "last_run_at": time}
        case RunEnded():
            return {"last_run_status": END_STATUS[type(event)].value, "last_run_at": time}
        case PipelineActivated() | PipelineResumed():
            return {"status": PipelineStatus.ACTIVE.value, "reason": "", "schedule_problem": ""}
        case PipelinePaused():
            return {"status": PipelineStatus.PAUSED.value, "reason": event.reason}
        case PipelineRetired():
            retired = {"retired_at": time}
            return {"status": PipelineStatus.CANCELLED.value, "reason": event.reason, **retired}
    return {}
