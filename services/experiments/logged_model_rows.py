"""The tables of logged models, and of what runs have to do with them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel

from events.language.base import Message
from events.language.experiments.logged_models import (
    LoggedModel,
    LoggedModelAdmitted,
    LoggedModelCreated,
    LoggedModelDataLogged,
    LoggedModelDeleted,
    LoggedModelEvent,
    LoggedModelFinalized,
    LoggedModelNotAdmitted,
    LoggedModelRestored,
    LoggedModelStatus,
    RunModelsLogged,
)
from events.language.experiments.purging import LoggedModelPurged
from events.log.envelope import Meta
from events.projections.projection import Key, Row, Rows, Table
from events.projections.row_models import table_of


class RunModelRow(BaseModel):
    """A logged model that a run uses or made."""

    run_id: str
    model_id: str
    is_output: bool
    """Whether the run made it."""
    step: int = 0
    logged_at: datetime


LOGGED_MODELS = table_of(
    LoggedModel,
    "logged_models",
    key=("model_id",),
    indexes=("created_at desc, model_id desc", "experiment_id, created_at desc, model_id desc", "source_run_id"),
    born="created_at",
)

RUN_MODELS = table_of(RunModelRow, "run_models", key=("run_id", "is_output", "model_id", "step"), indexes=("model_id",))

TABLES = (LOGGED_MODELS, RUN_MODELS)


def touched(event: Message) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    if isinstance(event, LoggedModelEvent):
        yield LOGGED_MODELS, (event.model_id,)
    elif isinstance(event, RunModelsLogged):
        yield from (
            (RUN_MODELS, (row["run_id"], row["is_output"], row["model_id"], row["step"])) for row in _used(event)
        )


def put(event: Message, meta: Meta, rows: Rows) -> None:
    """Fold an event into its rows."""
    if isinstance(event, LoggedModelCreated):
        said = event.model_dump(mode="json", include={"name", "model_type", "source_run_id", "params", "tags"})
        row = LOGGED_MODELS.first(
            model_id=event.model_id,
            project=event.project,
            status=LoggedModelStatus.PENDING.value,
            owner=meta.actor,
            created_at=meta.time,
            updated_at=meta.time,
            **said,
        )
        rows.put(LOGGED_MODELS, row)
    elif isinstance(event, LoggedModelEvent):
        found = rows.get(LOGGED_MODELS, (event.model_id,))
        assert found is not None, "the decider lets nothing come before the creation"
        rows.put(LOGGED_MODELS, {**found, **_change(event, found, meta.time), "updated_at": meta.time})
    elif isinstance(event, RunModelsLogged):
        for row in _used(event):
            rows.put(RUN_MODELS, RUN_MODELS.first(**row, logged_at=meta.time))


def _change(event: LoggedModelEvent, found: Row, time: datetime) -> Row:
    """What an event changes in its model's row."""
    match event:
        case LoggedModelAdmitted():
            return {"experiment_id": event.experiment_id}
        case LoggedModelNotAdmitted():
            return {"status": LoggedModelStatus.FAILED.value, "reason": event.reason}
        case LoggedModelDataLogged():
            tags = {**found["tags"], **event.tags}
            kept = {key: value for key, value in tags.items() if value is not None}
            return {"params": {**found["params"], **event.params}, "tags": kept}
        case LoggedModelFinalized():
            return {"status": event.status.value, "reason": event.reason}
        case LoggedModelDeleted():
            return {"deleted_at": time}
        case LoggedModelRestored():
            return {"deleted_at": None}
        case LoggedModelPurged():
            return {"deleted_at": found["deleted_at"] or time, "purged_at": time}
    return {}  # its files have rows of their own


def _used(event: RunModelsLogged) -> Iterable[Row]:
    for id in event.inputs:
        yield {"run_id": event.run_id, "model_id": id, "is_output": False, "step": 0}
    for each in event.outputs:
        yield {"run_id": event.run_id, "model_id": each.model_id, "is_output": True, "step": each.step}
