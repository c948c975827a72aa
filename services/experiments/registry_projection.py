"""The rows of models, their versions, promotions and datasets. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from events.language.base import Message
from events.language.experiments.datasets import (
    DatasetChecked,
    DatasetCheckRequested,
    DatasetEvent,
    DatasetRegistered,
    DatasetStatus,
)
from events.language.experiments.registry import (
    AliasRemoved,
    AliasSet,
    EnvironmentCleared,
    EnvironmentSet,
    ModelDeleted,
    ModelEvent,
    ModelRegistered,
    ModelRenamed,
    ModelStage,
    ModelStageSet,
    ModelUpdated,
    ModelVersionChecked,
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionUpdated,
    PromotionApproved,
    PromotionEnded,
    PromotionEvent,
    PromotionRequested,
    PromotionStatus,
    RegistryEvent,
    VersionCheckRequested,
    VersionEvent,
    VersionStatus,
)
from events.log.envelope import Meta
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import put_references, reference_keys
from services.experiments.registry_rows import CHECKS, DATASETS, LIVE, MODEL_NAMES, MODEL_VERSIONS, MODELS, PROMOTIONS

TABLES = (MODELS, MODEL_NAMES, MODEL_VERSIONS, LIVE, PROMOTIONS, CHECKS, DATASETS)

_CHECKED = (ModelVersionChecked, VersionCheckRequested, DatasetChecked, DatasetCheckRequested)


def touched(event: Message) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    match event:
        case ModelEvent():
            yield MODELS, (event.model_id,)
        case VersionEvent():
            yield MODEL_VERSIONS, (event.version_id,)
        case PromotionEvent():
            yield PROMOTIONS, (event.promotion_id,)
        case DatasetEvent():
            yield DATASETS, (event.version_id,)
    match event:
        case ModelRegistered():
            yield MODEL_NAMES, (event.model_id, 1)
        case ModelRenamed():
            yield from ((MODEL_NAMES, (event.model_id, number)) for number in (event.number - 1, event.number))
        case ModelDeleted():
            yield MODEL_NAMES, (event.model_id, event.number)
        case ModelVersionCreated():
            yield MODELS, (event.model_id,)
            yield CHECKS, (event.version_id, 1)
            yield from reference_keys(event.version_id, [event.spec.bundle])
        case DatasetRegistered() if event.spec.bundle is not None:
            yield CHECKS, (event.version_id, 1)
            yield from reference_keys(event.version_id, [event.spec.bundle])
    if isinstance(event, _CHECKED):
        yield CHECKS, (event.version_id, event.check)
    if isinstance(event, RegistryEvent):
        yield from ((LIVE, (event.model_id, period)) for period in _periods(event))  # type: ignore[attr-defined]


def put(event: Message, meta: Meta, rows: Rows) -> None:
    """Fold an event into its rows."""
    match event:
        case ModelEvent():
            _model(event, meta, rows)
        case VersionEvent():
            _version(event, meta, rows)
        case PromotionEvent():
            _promotion(event, meta, rows)
        case DatasetEvent():
            _dataset(event, meta, rows)
    if isinstance(event, RegistryEvent):
        _live(event, meta, rows)


def _periods(event: RegistryEvent) -> Iterable[int]:
    """The times that begin or end with it."""
    ends: Any = getattr(event, "ends", 0)
    if isinstance(ends, tuple):
        return ends
    return filter(None, (ends, getattr(event, "period", 0)))


def _changed(rows: Rows, table: Table, key: Key, **changes: Any) -> Row:
    """Change a row. The decider lets nothing come before its beginning."""
    found = rows.get(table, key)
    assert found is not None, f"{table.name} has no {key}"
    row = {**found, **changes}
    rows.put(table, row)
    return row


def _tags(row: Row, changes: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**row["tags"], **changes}.items() if value is not None}


def _model(event: ModelEvent, meta: Meta, rows: Rows) -> None:
    id, time = event.model_id, meta.time
    if isinstance(event, ModelRegistered):
        said = event.model_dump(mode="json")
        row = MODELS.first(
            **{name: said[name] for name in MODELS.columns if name in said}, created_at=time, updated_at=time
        )
        rows.put(MODELS, row)
        _name(rows, event, 1, time)
        return
    found = rows.get(MODELS, (id,))
    assert found is not None, "the decider lets nothing come before the registration"
    row = {**found, "updated_at": time}
    match event:
        case ModelUpdated():
            given = {"description", "card", "access", "allowed", "approval_rules"}
            row |= event.model_dump(mode="json", include=given, exclude_none=True)
            row["tags"] = _tags(found, event.tags)
        case ModelRenamed():
            row |= {"name": event.name, "latest": event.latest}
            _changed(rows, MODEL_NAMES, (id, event.number - 1), ended_at=time)
            _name(rows, event, event.number, time)
        case ModelDeleted():
            row |= {"deleted_at": time, "aliases": {}}
            _changed(rows, MODEL_NAMES, (id, event.number), ended_at=time)
        case AliasSet():
            row["aliases"] = {**found["aliases"], event.alias: event.number}
        case AliasRemoved():
            row["aliases"] = _without(found["aliases"], event.alias)
        case EnvironmentSet():
            row["environments"] = {**found["environments"], event.environment: event.number}
        case EnvironmentCleared():
            row["environments"] = _without(found["environments"], event.environment)
    rows.put(MODELS, row)


def _without(known: dict[str, int], name: str) -> dict[str, int]:
    return {key: value for key, value in known.items() if key != name}


def _name(rows: Rows, event: ModelRegistered | ModelRenamed, number: int, time: datetime) -> None:
    row = MODEL_NAMES.first(
        model_id=event.model_id, number=number, project=event.project, name=event.name, began_at=time
    )
    rows.put(MODEL_NAMES, row)


def _version(event: VersionEvent, meta: Meta, rows: Rows) -> None:
    key, time = (event.version_id,), meta.time
    match event:
        case ModelVersionCreated():
            row = MODEL_VERSIONS.first(
                **event.spec.model_dump(mode="json"),
                version_id=event.version_id,
                model_id=event.model_id,
                project=event.project,
                number=event.number,
                status=VersionStatus.PENDING.value,
                notes=event.notes,
                tags=dict(event.tags),
                created_by=meta.actor,
                created_at=time,
                updated_at=time,
            )
            rows.put(MODEL_VERSIONS, row)
            _changed(rows, MODELS, (event.model_id,), latest=event.number, updated_at=time)
            put_references(rows, event.version_id, [event.spec.bundle], bundle=True)
            _check(rows, event, 1, time, is_model=True)
        case ModelVersionUpdated():
            row = _changed(rows, MODEL_VERSIONS, key, updated_at=time)
            notes = {} if event.notes is None else {"notes": event.notes}
            rows.put(MODEL_VERSIONS, {**row, **notes, "tags": _tags(row, event.tags)})
        case ModelVersionDeleted():
            _changed(rows, MODEL_VERSIONS, key, updated_at=time, deleted_at=time, stage=ModelStage.NONE.value)
        case VersionCheckRequested():
            _check(rows, event, event.check, time, is_model=True)
        case ModelVersionChecked():
            rows.delete(CHECKS, (event.version_id, event.check))
            said = event.model_dump(mode="json", include={"reason", "files", "size_bytes", "compression", "warnings"})
            status = VersionStatus.VERIFIED if event.intact else VersionStatus.DAMAGED
            _changed(rows, MODEL_VERSIONS, key, **said, status=status.value, checked_at=time, updated_at=time)
        case ModelStageSet():
            _changed(rows, MODEL_VERSIONS, key, stage=event.stage.value, updated_at=time)


def _check(rows: Rows, event: VersionEvent | DatasetEvent, number: int, time: datetime, *, is_model: bool) -> None:
    row = CHECKS.first(
        subject_id=event.version_id, number=number, project=event.project, is_model=is_model, requested_at=time
    )
    rows.put(CHECKS, row)


def _live(event: RegistryEvent, meta: Meta, rows: Rows) -> None:
    """End the times that end with an event, and begin the one that begins."""
    slot, began = _slot_of(event)
    for period in _periods(event):
        if period != began:
            _changed(rows, LIVE, (event.model_id, period), ended_at=meta.time)  # type: ignore[attr-defined]
    if began:
        said: Any = event
        row = LIVE.first(
            model_id=said.model_id,
            period=began,
            project=event.project,
            slot=slot,
            version_id=said.version_id,
            number=said.number,
            actor=getattr(event, "actor", meta.actor),
            reason=getattr(event, "reason", ""),
            promotion_id=getattr(event, "promotion_id", ""),
            began_at=meta.time,
        )
        rows.put(LIVE, row)


def _slot_of(event: RegistryEvent) -> tuple[str, int]:
    """What a version has from this event on, and which time of its model that is; 0 if none begins."""
    match event:
        case AliasSet():
            return f"alias:{event.alias}", event.period
        case EnvironmentSet():
            return f"environment:{event.environment}", event.period
        case ModelStageSet():
            return f"stage:{event.stage.value}", event.period
    return "", 0


def _promotion(event: PromotionEvent, meta: Meta, rows: Rows) -> None:
    key, time = (event.promotion_id,), meta.time
    match event:
        case PromotionRequested():
            row = PROMOTIONS.first(
                **event.model_dump(mode="json", exclude={"check"}),
                status=PromotionStatus.REQUESTED.value,
                requested_at=time,
            )
            rows.put(PROMOTIONS, row)
        case PromotionApproved():
            row = _changed(rows, PROMOTIONS, key)
            rows.put(PROMOTIONS, {**row, "approved_by": [*row["approved_by"], event.approver]})
        case PromotionEnded():
            _changed(rows, PROMOTIONS, key, status=event.status.value, outcome=event.reason, ended_at=time)


def _dataset(event: DatasetEvent, meta: Meta, rows: Rows) -> None:
    key, time = (event.version_id,), meta.time
    match event:
        case DatasetRegistered():
            bundle = event.spec.bundle
            row = DATASETS.first(
                **event.spec.model_dump(mode="json", exclude={"digest"}),
                digest=bundle.digest if bundle is not None else event.spec.digest,
                version_id=event.version_id,
                project=event.project,
                name=event.name,
                number=event.number,
                status=(DatasetStatus.PENDING if bundle is not None else DatasetStatus.EXTERNAL).value,
                description=event.description,
                tags=dict(event.tags),
                created_by=meta.actor,
                created_at=time,
                updated_at=time,
            )
            rows.put(DATASETS, row)
            if bundle is not None:
                put_references(rows, event.version_id, [bundle], bundle=True)
                _check(rows, event, 1, time, is_model=False)
        case DatasetCheckRequested():
            _check(rows, event, event.check, time, is_model=False)
        case DatasetChecked():
            rows.delete(CHECKS, (event.version_id, event.check))
            status = DatasetStatus.VERIFIED if event.intact else DatasetStatus.DAMAGED
            said = event.model_dump(mode="json", include={"reason", "files", "size_bytes"})
            _changed(rows, DATASETS, key, **said, status=status.value, checked_at=time, updated_at=time)
