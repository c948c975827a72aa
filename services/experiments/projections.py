"""The tables of experiments, runs, and runs' parameters and tags; those of tunings and templates have
modules of their own. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from events.language.base import Message
from events.language.experiments import (
    ArtifactsLogged,
    ArtifactsRemoved,
    CatalogueEvent,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    ExperimentStatus,
    ExperimentStatusSet,
    ExperimentUpdated,
    RunAdmitted,
    RunCreated,
    RunDataLogged,
    RunDeleted,
    RunEnded,
    RunEvent,
    RunNotAdmitted,
    RunProcessEnded,
    RunRenamed,
    RunRestored,
    RunStarted,
    RunStatus,
    TuningEvent,
)
from events.language.experiments.capture import RunCaptured
from events.language.experiments.datasets import InputsLogged
from events.language.experiments.launching import RunLaunched, RunLaunchEnded, RunStopRequested
from events.language.experiments.logged_models import RunModelsLogged
from events.language.experiments.purging import ExperimentPurged, RunPurged
from events.language.experiments.results import BestCheckpointSet
from events.language.experiments.sealing import RunPointsSealed
from events.language.objects import ObjectRef
from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Row, Rows, Table
from events.projections.references import REFERENCES, holder, put_references, reference_keys
from services.experiments import (
    artifact_rows,
    capture_rows,
    lineage_rows,
    logged_model_rows,
    purge_rows,
    registry_projection,
    seal_rows,
    template_rows,
    tuning_rows,
)
from services.experiments.capture_rows import CAPTURES
from services.experiments.catalogue.state import FIELDS, LISTS
from services.experiments.joblink.state import USED
from services.experiments.rows import EXPERIMENTS, PARAMS, RUNS, TAGS


class ExperimentsProjection(Projection):
    """Folds events.experiments."""

    context = "experiments"
    version = 7
    tables = (
        EXPERIMENTS,
        RUNS,
        PARAMS,
        TAGS,
        *artifact_rows.TABLES,
        *logged_model_rows.TABLES,
        CAPTURES,
        *seal_rows.TABLES,
        *registry_projection.TABLES,
        *lineage_rows.TABLES,
        *tuning_rows.TABLES,
        *template_rows.TABLES,
        *purge_rows.TABLES,
        REFERENCES,
    )

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        event = recorded.data
        yield from registry_projection.touched(event)
        yield from lineage_rows.touched(event, recorded.meta)
        yield from template_rows.touched(event)
        yield from artifact_rows.touched(event)
        yield from logged_model_rows.touched(event)
        yield from purge_rows.touched(event)
        yield from reference_keys(holder(event), _bundles(event))
        if isinstance(event, CatalogueEvent):
            yield EXPERIMENTS, (event.experiment_id,)
        elif isinstance(event, RunEvent):
            yield RUNS, (event.run_id,)
            for table, name in ((PARAMS, "params"), (TAGS, "tags")):
                for key in getattr(event, name, ()):
                    yield table, (event.run_id, key)
            if isinstance(event, RunCaptured):
                yield from capture_rows.touched(event)
            yield from seal_rows.touched(event)
        elif isinstance(event, TuningEvent):
            yield from tuning_rows.touches(event)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        event = recorded.data
        registry_projection.put(event, recorded.meta, rows)
        lineage_rows.put(event, recorded.meta, rows)
        template_rows.put(event, recorded.meta, rows)
        artifact_rows.put(event, rows, recorded.meta.time)
        logged_model_rows.put(event, recorded.meta, rows)
        put_references(rows, holder(event), _bundles(event), bundle=True)
        if isinstance(event, CatalogueEvent):
            _experiment(recorded, event, rows)
        elif isinstance(event, RunEvent):
            _run(recorded, event, rows)
            _values(rows, PARAMS, event.run_id, getattr(event, "params", {}))
            _values(rows, TAGS, event.run_id, getattr(event, "tags", {}))
            if isinstance(event, RunCaptured):
                capture_rows.put(event, rows, recorded.meta.time)
        elif isinstance(event, TuningEvent):
            tuning_rows.project(recorded, event, rows)
        purge_rows.put(event, rows, recorded.meta.time)


PROJECTION = ExperimentsProjection()


def _bundles(event: Message) -> list[ObjectRef]:
    """The folders that launched runs run in, if they were uploaded."""
    match event:
        case ExperimentCreated() | ExperimentUpdated():
            job = None if event.launch is None else event.launch.job
        case RunCreated():
            job = event.job
        case _:
            return []
    return [] if job is None or job.environment.bundle is None else [job.environment.bundle]


def _experiment(recorded: Recorded, event: CatalogueEvent, rows: Rows) -> None:
    time = recorded.meta.time
    if isinstance(event, ExperimentCreated):
        said = event.model_dump(mode="json", include={*FIELDS, *LISTS, "tags", "template_id", "template_version"})
        row = EXPERIMENTS.first(
            experiment_id=event.experiment_id,
            project=event.project,
            owner=recorded.meta.actor,
            status=ExperimentStatus.DRAFT.value,
            created_at=time,
            updated_at=time,
            **said,
        )
        rows.put(EXPERIMENTS, row)
        return
    found = rows.get(EXPERIMENTS, (event.experiment_id,))
    assert found is not None, "the decider lets nothing come before the creation"
    row = {**found, "updated_at": time}
    match event:
        case ExperimentUpdated():
            row |= event.model_dump(mode="json", include={*FIELDS, *LISTS}, exclude_none=True)
            tags = {**found["tags"], **event.tags}
            row["tags"] = {key: value for key, value in tags.items() if value is not None}
        case ExperimentStatusSet():
            row |= {"status": event.status.value, "reason": event.reason}
        case ExperimentDeleted():
            row["deleted_at"] = time
        case ExperimentRestored():
            row["deleted_at"] = None
        case ExperimentPurged():
            row["purged_at"] = time
    rows.put(EXPERIMENTS, row)


def _run(recorded: Recorded, event: RunEvent, rows: Rows) -> None:
    time = recorded.meta.time
    if isinstance(event, RunCreated):
        row = RUNS.first(
            run_id=event.run_id,
            project=event.project,
            name=event.name,
            owner=recorded.meta.actor,
            parent_run_id=event.parent_run_id,
            status=event.status.value,
            started_at=event.started_at,
            updated_at=time,
            reproduces=event.reproduces,
        )
        if (process := event.process) is not None:
            row |= {"job_id": process.job_id, "task": process.task, "attempt": process.attempt}
        rows.put(RUNS, row)
        return
    found = rows.get(RUNS, (event.run_id,))
    assert found is not None, "the decider lets nothing come before the creation"
    seal_rows.put(event, found, rows, time)
    if isinstance(event, RunPointsSealed):
        return  # it changes nothing of the run
    rows.put(RUNS, {**found, **_change(recorded, event, found), "updated_at": time})


def _change(recorded: Recorded, event: RunEvent, found: Row) -> Row:
    """What an event changes in its run's row."""
    time = recorded.meta.time
    match event:
        case RunAdmitted():
            return {"experiment_id": event.experiment_id, "number": event.number}
        case RunNotAdmitted():
            return {"status": RunStatus.FAILED.value, "reason": event.reason, "ended_at": time}
        case RunRenamed():
            return {"name": event.name}
        case RunStarted():
            node: Row = {"node_id": event.node_id} if event.node_id else {}
            return {"status": RunStatus.RUNNING.value, "reason": "", "ended_at": None, **node}
        case RunEnded():
            return {"status": event.status.value, "reason": event.reason, "ended_at": event.ended_at}
        case RunLaunched():
            return {name: getattr(event.process, name) for name in ("job_id", "task", "attempt")}
        case RunStopRequested() | RunLaunchEnded():
            return {}
        case RunProcessEnded():
            node = {"node_id": event.node_id} if event.node_id else {}
            used = {name: getattr(event, name) for name in USED}
            return {"exit_code": event.exit_code, **node, **used}
        case BestCheckpointSet():
            return {"best_checkpoint": event.path}
        case RunDeleted():
            return {"deleted_at": time}
        case RunRestored():
            return {"deleted_at": None}
        case RunPurged():
            return {"deleted_at": found["deleted_at"] or time, "purged_at": time}
        case RunDataLogged() | ArtifactsLogged() | ArtifactsRemoved() | InputsLogged() | RunModelsLogged():
            return {}
        case RunCaptured():
            return {}
    raise TypeError(f"runs have no {type(event).__name__}")


def _values(rows: Rows, table: Table, run_id: str, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if value is None:
            rows.delete(table, (run_id, key))
        else:
            rows.put(table, {"run_id": run_id, "key": key, "value": value})
