"""The tables of datasets, their versions, quality and lineage, and how events change them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import fmean
from typing import Any

from events.language.base import Event
from events.language.objects import ObjectRef
from events.language.pipelines.commits import CommitRequest, place_label
from events.language.pipelines.dataset_answers import (
    DataManifest,
    DataSchema,
    Dataset,
    DataVersion,
    DataVersionStatus,
    LineageSource,
    QualityCheck,
    RuleRecord,
)
from events.language.pipelines.dataset_messages import (
    ContractSet,
    DatasetDefined,
    DatasetEvent,
    DatasetStale,
    LineageRecorded,
    QualityEvaluated,
    QualityRuleDefined,
    SchemaChanged,
    SubscriberAdded,
    SubscriberRemoved,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
    VolumeAnomaly,
)
from events.language.pipelines.lineage import LineageInput
from events.language.pipelines.quality import RuleOutcome
from events.language.pipelines.run_events import StageCompleted, StageFailed, StageRetrying
from events.log.envelope import Recorded
from events.log.ids import named_id
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import REFERENCES, holder, put_references, reference_keys
from events.projections.row_models import table_of

DATASETS = table_of(
    Dataset,
    "datasets",
    key=("dataset_id",),
    indexes=("created_at desc, dataset_id desc", "project, name"),
    born="created_at",
)
DATA_VERSIONS = table_of(DataVersion, "data_versions", key=("dataset_id", "version"), indexes=("run_id",))
MANIFESTS = table_of(DataManifest, "data_manifests", key=("dataset_id", "version"))
SCHEMAS = table_of(DataSchema, "data_schemas", key=("dataset_id", "schema_version"))
CHECKS = table_of(
    QualityCheck,
    "quality_checks",
    key=("run_id", "stage_id", "attempt", "rule_id", "revision"),
    indexes=("dataset_id, evaluated_at desc", "pipeline_id, evaluated_at desc"),
    born="evaluated_at",
)
RULES = table_of(RuleRecord, "rule_records", key=("dataset_id", "rule_id"))
LINEAGE = table_of(LineageSource, "lineage_sources", key=("dataset_id", "origin"), indexes=("project",))

TABLES = (DATASETS, DATA_VERSIONS, MANIFESTS, SCHEMAS, CHECKS, RULES, LINEAGE, REFERENCES)

OF_VERSIONS = ""
"""The origin of what a dataset's own versions are computed from."""


def source_id(read: LineageInput, project: str) -> str:
    """The id of the dataset that an input is: of a place that is none of the platform's, the one that its location
    names."""
    return read.dataset_id or named_id(place_label(read.location), project)


def touched(event: DatasetEvent) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    id = event.dataset_id
    yield DATASETS, (id,)
    match event:
        case VersionCommitted():
            yield DATA_VERSIONS, (id, event.dataset_version)
            yield MANIFESTS, (id, event.dataset_version)
            yield from reference_keys(holder(event), _objects(event))
        case VersionPublished():
            yield DATA_VERSIONS, (id, event.dataset_version)
            yield LINEAGE, (id, OF_VERSIONS)
        case VersionAbandoned() | VolumeAnomaly():
            yield DATA_VERSIONS, (id, event.dataset_version)
        case SchemaChanged():
            yield SCHEMAS, (id, event.schema_version)
        case QualityEvaluated():
            yield from check_keys(event, event.outcomes)
            for outcome in event.outcomes:
                yield RULES, (id, outcome.rule_id)
        case LineageRecorded():
            yield LINEAGE, (id, event.job)


def put(recorded: Recorded, event: DatasetEvent, rows: Rows) -> None:
    time, id = recorded.meta.time, event.dataset_id
    if isinstance(event, DatasetDefined):
        said = event.model_dump(mode="json")
        rows.put(DATASETS, DATASETS.first(**said, created_at=time, updated_at=time))
        return
    row = rows.get(DATASETS, (id,))
    assert row is not None, "a dataset begins with its definition"
    changed = _change(event, row, rows, time)
    rows.put(DATASETS, {**row, **changed, "updated_at": time})


def _change(event: DatasetEvent, row: Row, rows: Rows, time: datetime) -> Row:
    """What an event changes in its dataset's row; the other tables are changed besides."""
    match event:
        case QualityRuleDefined():
            return {"rules": _with_rule(row["rules"], event)}
        case ContractSet():
            return {"contract": event.contract.model_dump(mode="json"), "stale": False}
        case VersionCommitted():
            rows.put(DATA_VERSIONS, _version(event, row["project"], time))
            rows.put(MANIFESTS, _manifest(event))
            put_references(rows, holder(event), _objects(event))
            return {"committed": event.dataset_version}
        case VersionPublished():
            return _published(event, row, rows, time)
        case VersionAbandoned():
            _version_with(rows, event, status=DataVersionStatus.ABANDONED.value, reason=event.reason)
        case SchemaChanged():
            said = event.model_dump(mode="json", exclude={"dataset_version"})
            rows.put(SCHEMAS, SCHEMAS.first(**said, version=event.dataset_version, changed_at=time))
            return {"schema_version": event.schema_version}
        case VolumeAnomaly():
            _version_with(rows, event, median_rows=event.median)
            return {"anomalous": True}
        case DatasetStale():
            return {"stale": True}
        case QualityEvaluated():
            put_checks(rows, event, event.outcomes, time, event.dataset_id, event.dataset_version)
            for outcome in event.outcomes:
                rows.put(RULES, _record(rows, event.dataset_id, outcome, time))
            return {"quality_score": score(event.outcomes)}
        case SubscriberAdded():
            return {"subscribers": sorted({*row["subscribers"], event.pipeline_id})}
        case SubscriberRemoved():
            return {"subscribers": [each for each in row["subscribers"] if each != event.pipeline_id]}
        case LineageRecorded():
            rows.put(LINEAGE, _recorded(event, row["project"], time))
            return {
                "location": row["location"] or event.location,
                "columns": row["columns"] or _plain(event)["columns"],
            }
    return {}


def of_stage(event: Event) -> Iterable[tuple[Table, Key]]:
    """The rows of an evaluation that led to no version."""
    yield from check_keys(event, _evaluated(event))


def put_of_stage(recorded: Recorded, event: Event, rows: Rows) -> None:
    """Write those rows, but for those that the dataset's own event has written."""
    outcomes = _evaluated(event)
    keys = [key for _, key in check_keys(event, outcomes)]
    new = [outcome for outcome, key in zip(outcomes, keys, strict=True) if rows.get(CHECKS, key) is None]
    put_checks(rows, event, new, recorded.meta.time)


def _evaluated(event: Event) -> Sequence[RuleOutcome]:
    """What a stage has evaluated that failed, or that has no dataset."""
    if isinstance(event, StageFailed | StageRetrying):
        return event.outcomes
    return event.outcomes if isinstance(event, StageCompleted) and not event.output.dataset_id else ()


def score(outcomes: Sequence[RuleOutcome]) -> float | None:
    """The mean of the pass rates of rules, to nine digits; None without any."""
    return round(fmean(outcome.pass_rate for outcome in outcomes), 9) if outcomes else None


def check_keys(event: Any, outcomes: Sequence[RuleOutcome]) -> Iterable[tuple[Table, Key]]:
    """The rows of an evaluation; the event names the attempt."""
    for outcome in outcomes:
        yield CHECKS, (event.run_id, event.stage_id, event.attempt, outcome.rule_id, outcome.revision)


def put_checks(
    rows: Rows, event: Any, outcomes: Sequence[RuleOutcome], time: datetime, dataset: str = "", version: int = 0
) -> None:
    """Write the rows of an evaluation."""
    for outcome in outcomes:
        named = {name: getattr(event, name) for name in ("pipeline_id", "run_id", "stage_id", "attempt")}
        said = outcome.model_dump(mode="json")
        rows.put(CHECKS, CHECKS.first(**named, **said, dataset_id=dataset, version=version, evaluated_at=time))


def _record(rows: Rows, id: str, outcome: RuleOutcome, time: datetime) -> Row:
    found = rows.get(RULES, (id, outcome.rule_id)) or RULES.first(
        dataset_id=id, rule_id=outcome.rule_id, evaluated_at=time
    )
    return {
        **found,
        "evaluations": found["evaluations"] + 1,
        "breaches": found["breaches"] + outcome.breached,
        "failed": found["failed"] + outcome.failed,
        "pass_rate": outcome.pass_rate,
        "evaluated_at": time,
    }


def _with_rule(rules: Sequence[Row], event: QualityRuleDefined) -> list[Row]:
    """The rules with one in its place, or at the end."""
    new = {"rule": event.rule.model_dump(mode="json"), "revision": event.revision}
    ids = [each["rule"]["rule_id"] for each in rules]
    if event.rule.rule_id not in ids:
        return [*rules, new]
    return [new if id == event.rule.rule_id else each for id, each in zip(ids, rules, strict=True)]


def _version(event: VersionCommitted, project: str, time: datetime) -> Row:
    request = event.request
    said = request.model_dump(
        mode="json",
        include={
            "dataset_id",
            "pipeline_id",
            "pipeline_version",
            "run_id",
            "stage_id",
            "attempt",
            "outcomes",
            "inputs",
            "lineage",
            "transformations",
        },
    )
    return DATA_VERSIONS.first(
        **said,
        version=event.dataset_version,
        project=project,
        status=DataVersionStatus.COMMITTED.value,
        rows=request.manifest.rows,
        bytes=request.manifest.bytes,
        columns=[column.model_dump(mode="json") for column in request.manifest.columns],
        quarantined=_quarantined(request),
        quality_score=score(request.outcomes),
        committed_at=time,
    )


def _quarantined(request: CommitRequest) -> int:
    return request.quarantine.rows if request.quarantine is not None else 0


def _manifest(event: VersionCommitted) -> Row:
    said = event.request.model_dump(mode="json", include={"manifest", "quarantine"})
    return MANIFESTS.first(dataset_id=event.dataset_id, version=event.dataset_version, **said)


def _objects(event: VersionCommitted) -> list[ObjectRef]:
    """The objects that have the lists of its files, where those are too long for an event."""
    manifests = (event.request.manifest, event.request.quarantine)
    return [each.files_object for each in manifests if each is not None and each.files_object is not None]


def _published(event: VersionPublished, row: Row, rows: Rows, time: datetime) -> Row:
    before = rows.get(DATA_VERSIONS, (event.dataset_id, event.dataset_version))
    if before is not None and before["status"] == DataVersionStatus.PUBLISHED.value:
        return {}  # told again, to a run that was retried
    version = _version_with(
        rows, event, status=DataVersionStatus.PUBLISHED.value, published_at=time, location=event.location
    )
    same = {name: version[name] for name in ("pipeline_id", "run_id", "stage_id", "version", "inputs", "lineage")}
    inputs = [LineageInput.model_validate(each) for each in version["inputs"]]
    sources = sorted({source_id(each, row["project"]) for each in inputs})
    of = {"dataset_id": event.dataset_id, "origin": OF_VERSIONS, "project": row["project"]}
    rows.put(LINEAGE, LINEAGE.first(**of, **same, sources=sources, updated_at=time))
    return {
        "version": event.dataset_version,
        "location": event.location or row["location"],
        **{name: version[name] for name in ("pipeline_id", "run_id", "rows", "bytes", "columns")},
        "stale": False,
        "anomalous": False,
        "published_at": time,
    }


def _version_with(rows: Rows, event: Any, **changed: Any) -> Row:
    found = rows.get(DATA_VERSIONS, (event.dataset_id, event.dataset_version))
    assert found is not None, "a version begins with its commit"
    row = {**found, **changed}
    rows.put(DATA_VERSIONS, row)
    return row


def _recorded(event: LineageRecorded, project: str, time: datetime) -> Row:
    said = _plain(event)
    return LINEAGE.first(
        dataset_id=event.dataset_id,
        origin=event.job,
        project=project,
        run_id=event.run,
        columns=said["columns"],
        sources=sorted({source_id(each, project) for each in event.inputs}),
        inputs=said["inputs"],
        lineage=said["lineage"],
        updated_at=time,
    )


def _plain(event: LineageRecorded) -> Row:
    return event.model_dump(mode="json", include={"columns", "inputs", "lineage"})
