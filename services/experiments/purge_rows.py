"""The tables of what is deleted and may be purged, and of what is purged. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel

from events.language.base import Message
from events.language.experiments import (
    ExperimentDeleted,
    ExperimentRestored,
    RunDeleted,
    RunRestored,
)
from events.language.experiments.logged_models import LoggedModelDeleted, LoggedModelRestored
from events.language.experiments.purging import ExperimentPurged, LoggedModelPurged, RunPurged
from events.projections.projection import Key, Rows, Table
from events.projections.references import PURGED, holder, put_purged
from events.projections.row_models import table_of
from services.experiments.logged_model_rows import LOGGED_MODELS
from services.experiments.rows import RUNS


class DeletionRow(BaseModel):
    """Something that is deleted, and neither restored nor purged."""

    id: str
    kind: str
    """The aggregate: experiment, run, logged_model."""
    project: str
    deleted_at: datetime


DELETIONS = table_of(DeletionRow, "deletions", key=("id", "kind"), indexes=("deleted_at, id",))
TABLES = (DELETIONS, PURGED)

_DELETED = ExperimentDeleted | RunDeleted | LoggedModelDeleted
_BACK = ExperimentRestored | RunRestored | LoggedModelRestored
_PURGED = ExperimentPurged | RunPurged | LoggedModelPurged
_OWNERS = {"run": RUNS, "logged_model": LOGGED_MODELS}


def touched(event: Message) -> Iterable[tuple[Table, Key]]:
    """The rows that an event writes."""
    if isinstance(event, _DELETED | _BACK | _PURGED):
        yield DELETIONS, (event.subject(), event.aggregate)
        if isinstance(event, _PURGED):
            yield PURGED, (holder(event),)


def put(event: Message, rows: Rows, time: datetime) -> None:
    """Write the rows, after the owner's."""
    if not isinstance(event, _DELETED | _BACK | _PURGED):
        return
    id, kind = event.subject(), event.aggregate
    if isinstance(event, _DELETED):
        if isinstance(event, ExperimentDeleted):
            project = event.project
        else:
            owner = rows.get(_OWNERS[kind], (id,))
            assert owner is not None, "the decider lets nothing come before the creation"
            project = owner["project"]
        rows.put(DELETIONS, DELETIONS.first(id=id, kind=kind, project=project, deleted_at=time))
        return
    rows.delete(DELETIONS, (id, kind))
    if isinstance(event, _PURGED):
        put_purged(rows, holder(event), time)
