"""The tables of runs' ends, which are to be sealed, and of seals. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel

from events.language.base import Event
from events.language.experiments import ENDED, RunEnded, RunEvent, RunNotAdmitted, RunStarted
from events.language.experiments.sealing import RunPointsSealed, RunSeal
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import holder, put_references, reference_keys
from events.projections.row_models import table_of


class RunEndRow(BaseModel):
    """An end of a run."""

    run_id: str
    number: int
    """How often it has ended."""
    is_open: bool
    """Whether its points are still to be sealed."""
    ended_at: datetime
    """When the log had it."""


ENDS = table_of(RunEndRow, "run_ends", key=("run_id",), indexes=("is_open, ended_at",))
SEALS = table_of(RunSeal, "run_seals", key=("run_id",))
TABLES = (ENDS, SEALS)

_CONCERNED = (RunEnded, RunNotAdmitted, RunStarted, RunPointsSealed)


def touched(event: RunEvent) -> Iterable[tuple[Table, Key]]:
    """The rows that an event writes."""
    if isinstance(event, _CONCERNED):
        yield ENDS, (event.run_id,)
    if isinstance(event, RunPointsSealed):
        yield SEALS, (event.run_id,)
        if event.sealed.summary is not None:
            yield from reference_keys(holder(event), [event.sealed.summary])


def put(event: Event, run: Row, rows: Rows, time: datetime) -> None:
    """Write the rows. `run`: its row as it was before the event."""
    match event:
        case RunEnded() | RunNotAdmitted():
            if run["status"] not in ENDED:
                found = rows.get(ENDS, (event.run_id,))
                number = 1 if found is None else found["number"] + 1
                rows.put(ENDS, ENDS.first(run_id=event.run_id, number=number, is_open=True, ended_at=time))
        case RunStarted() | RunPointsSealed():
            if (found := rows.get(ENDS, (event.run_id,))) is not None:
                rows.put(ENDS, {**found, "is_open": False})
    if isinstance(event, RunPointsSealed):
        if event.sealed.summary is not None:
            put_references(rows, holder(event), [event.sealed.summary])
        sealed = event.sealed.model_dump(mode="json")
        rows.put(SEALS, SEALS.first(run_id=event.run_id, end_number=event.end_number, sealed=sealed, sealed_at=time))
