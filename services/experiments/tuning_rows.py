"""The tables of tunings, their trials and what trials reported, and how events change them. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from events.language.experiments import (
    TRIAL_ENDS,
    TUNING_ENDS,
    Direction,
    HyperparameterTuningJob,
    Scope,
    Trial,
    TrialAdded,
    TrialAttributeSet,
    TrialEnded,
    TrialEvent,
    TrialLaunched,
    TrialParameterSet,
    TrialProposed,
    TrialReported,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningAttributeSet,
    TuningCreated,
    TuningDeleted,
    TuningEvent,
    TuningStatus,
    TuningStatusSet,
    is_better,
)
from events.language.experiments.tuning_following import TrialJobCompleted, TrialPruned, TrialsAdopted
from events.language.objects import ObjectRef
from events.log.envelope import Recorded
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import put_references, reference_keys
from events.projections.row_models import table_of
from services.experiments import followed_rows
from services.experiments.followed_rows import FOLLOWED


class TrialReportRow(BaseModel):
    """What a trial's process reported at a step."""

    tuning_id: str
    number: int
    attempt: int
    step: int
    value: str


TUNINGS = table_of(
    HyperparameterTuningJob,
    "tunings",
    key=("tuning_id",),
    indexes=("created_at desc, tuning_id desc", "project, name", "experiment_id"),
    born="created_at",
)

TRIALS = table_of(Trial, "trials", key=("tuning_id", "number"))

REPORTS = table_of(TrialReportRow, "trial_reports", key=("tuning_id", "number", "attempt", "step"))

TABLES = (TUNINGS, TRIALS, REPORTS, FOLLOWED)

_ALSO_OF_TUNING = (TrialAdded, TrialProposed, TrialStarted, TrialRequeued, TrialEnded)
"""Events of trials for which the tuning's row is read or written."""

_COUNTS = {
    TrialStatus.COMPLETED: "completed",
    TrialStatus.PRUNED: "pruned",
    TrialStatus.FAILED: "failed",
}


_NO_REPORT: Row = {"last_step": None, "last_value": None}


def touches(event: TuningEvent) -> Iterable[tuple[Table, Key]]:
    yield from reference_keys(event.tuning_id, _bundles(event))
    if not isinstance(event, TrialEvent) or isinstance(event, _ALSO_OF_TUNING):
        yield TUNINGS, (event.tuning_id,)
    if isinstance(event, TrialEvent):
        yield TRIALS, (event.tuning_id, event.number)
        yield from followed_rows.touched(event)
    if isinstance(event, TrialReported):
        yield REPORTS, (event.tuning_id, event.number, event.attempt, event.step)
    if isinstance(event, TrialAdded):
        for step in {each.step for each in event.intermediate}:
            yield REPORTS, (event.tuning_id, event.number, 1, step)


def project(recorded: Recorded, event: TuningEvent, rows: Rows) -> None:
    put_references(rows, event.tuning_id, _bundles(event), bundle=True)
    if isinstance(event, TuningCreated):
        rows.put(TUNINGS, _created(recorded, event))
    elif isinstance(event, TrialEvent):
        _trial(recorded, event, rows)
    else:
        row = _found(rows, TUNINGS, (event.tuning_id,))
        rows.put(TUNINGS, {**row, **_change(recorded, event, row), "updated_at": recorded.meta.time})


def _bundles(event: TuningEvent) -> list[ObjectRef]:
    """The folder that the jobs of its trials run in, if it was uploaded."""
    if not isinstance(event, TuningCreated) or event.job is None or event.job.environment.bundle is None:
        return []
    return [event.job.environment.bundle]


def _created(recorded: Recorded, event: TuningCreated) -> Row:
    named = {"directions", "limits", "early_stopping", "plan", "job", "objectives", "experiment_id", "experiment"}
    said = event.model_dump(mode="json", include=named)
    return TUNINGS.first(
        tuning_id=event.tuning_id,
        project=event.project,
        number=event.number,
        name=event.name,
        owner=recorded.meta.actor,
        status=TuningStatus.RUNNING.value,
        created_at=recorded.meta.time,
        updated_at=recorded.meta.time,
        **said,
    )


def _change(recorded: Recorded, event: TuningEvent, row: Row) -> Row:
    """What an event changes in its tuning's row."""
    time = recorded.meta.time
    match event:
        case TuningStatusSet():
            ended = {"ended_at": time} if event.status in TUNING_ENDS else {}
            return {"status": event.status.value, "reason": event.reason, **ended}
        case TuningAttributeSet():
            return _attribute(event.scope, event.name, event.value, row)
        case TuningDeleted():
            return {"deleted_at": time}
        case TrialsAdopted():
            return {"adopted": row["adopted"] + len(event.trials)}
    raise TypeError(f"tunings have no {type(event).__name__}")


def _trial(recorded: Recorded, event: TrialEvent, rows: Rows) -> None:
    time, key = recorded.meta.time, (event.tuning_id, event.number)
    if isinstance(event, TrialAdded):
        rows.put(TRIALS, _added(recorded, event))
        for each in event.intermediate:
            _report(rows, event, 1, each.step, each.value)
    else:
        row = _found(rows, TRIALS, key)
        row = {**row, **_trial_change(event, row), "updated_at": time}
        rows.put(TRIALS, row)
        tuning = rows.get(TUNINGS, (event.tuning_id,)) if isinstance(event, TrialStarted) else None
        followed_rows.put(event, tuning, row, rows)
        if isinstance(event, TrialReported):
            _report(rows, event, event.attempt, event.step, event.value)
    if isinstance(event, TrialAdded | TrialEnded):
        _count(recorded, event, rows)
    if isinstance(event, TrialProposed | TrialRequeued):  # who watches it hears of a trial to take up
        tuning = _found(rows, TUNINGS, (event.tuning_id,))
        rows.put(TUNINGS, {**tuning, "updated_at": time})


def _added(recorded: Recorded, event: TrialAdded) -> Row:
    said = event.model_dump(
        mode="json", include={"parameters", "objective_values", "user_attributes", "system_attributes"}
    )
    last = max(event.intermediate, key=lambda each: each.step, default=None)
    reported: Row = {} if last is None else {"last_step": last.step, "last_value": last.value}
    return TRIALS.first(
        tuning_id=event.tuning_id,
        number=event.number,
        status=event.status.value,
        requested_at=recorded.meta.time,
        started_at=event.started_at,
        ended_at=event.ended_at,
        updated_at=recorded.meta.time,
        **said,
        **reported,
    )


def _trial_change(event: TrialEvent, row: Row) -> Row:
    """What an event changes in its trial's row."""
    match event:
        case TrialStarted():
            begun = {"attempt": event.attempt, "started_at": event.started_at, "reason": "", **_NO_REPORT}
            return {"status": TrialStatus.RUNNING.value, **begun}
        case TrialProposed():
            said = event.model_dump(mode="json", include={"parameters"})
            attributes = {**row["system_attributes"], **event.system_attributes}
            return {"status": TrialStatus.PROPOSED.value, "system_attributes": attributes, **said}
        case TrialLaunched():
            return {"job_id": event.job_id}
        case TrialParameterSet():
            by_name = {each["name"]: each for each in row["parameters"]}
            by_name[event.parameter.name] = event.parameter.model_dump(mode="json")
            return {"parameters": list(by_name.values())}
        case TrialAttributeSet():
            return _attribute(event.scope, event.name, event.value, row)
        case TrialReported():
            later = row["last_step"] is None or event.step >= row["last_step"]
            return {"last_step": event.step, "last_value": event.value} if later else {}
        case TrialJobCompleted() | TrialPruned():
            return {}
        case TrialRequeued():
            begun = {"status": event.status.value, "attempt": event.attempt, "reason": event.reason}
            return {**begun, **_NO_REPORT}
        case TrialEnded():
            ended = {
                "objective_values": list(event.objective_values),
                "reason": event.reason,
                "ended_at": event.ended_at,
            }
            return {"status": event.status.value, **ended}
    raise TypeError(f"trials have no {type(event).__name__}")


def _count(recorded: Recorded, event: TrialAdded | TrialEnded, rows: Rows) -> None:
    """What a trial changes in its tuning's row."""
    row = _found(rows, TUNINGS, (event.tuning_id,))
    change: Row = {"trials": row["trials"] + isinstance(event, TrialAdded)}
    if event.status in TRIAL_ENDS:
        name = _COUNTS[event.status]
        change[name] = row[name] + 1
    if event.status is TrialStatus.COMPLETED and len(row["directions"]) == 1:
        (value,), best = event.objective_values, row["best_value"]
        equal = best is not None and float(value) == float(best) and event.number < row["best_trial"]
        if equal or is_better(value, best, Direction(row["directions"][0])):
            change |= {"best_trial": event.number, "best_value": value}
    rows.put(TUNINGS, {**row, **change, "updated_at": recorded.meta.time})


def _report(rows: Rows, event: TrialEvent, attempt: int, step: int, value: str) -> None:
    place = {"tuning_id": event.tuning_id, "number": event.number, "attempt": attempt}
    rows.put(REPORTS, {**place, "step": step, "value": value})


def _attribute(scope: Scope, name: str, value: str, row: Row) -> Row:
    column = f"{scope.value}_attributes"
    return {column: {**row[column], name: value}}


def _found(rows: Rows, table: Table, key: Key) -> Any:
    row = rows.get(table, key)
    assert row is not None, "the decider lets nothing come before the creation"
    return row
