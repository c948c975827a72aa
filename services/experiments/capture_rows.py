"""The table of what runs ran. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from events.language.experiments.capture import CapturedRun, RunCapture, RunCaptured
from events.projections.projection import Key, Rows, Table
from events.projections.references import holder, put_references, reference_keys
from events.projections.row_models import table_of

CAPTURES = table_of(CapturedRun, "run_captures", key=("run_id",))


def touched(event: RunCaptured) -> Iterable[tuple[Table, Key]]:
    """The rows that an event writes."""
    yield CAPTURES, (event.run_id,)
    yield from reference_keys(holder(event), event.capture.objects())


def put(event: RunCaptured, rows: Rows, time: datetime) -> None:
    """Write the row, and the references to its objects. Those of an earlier capture stay, since the history has it."""
    put_references(rows, holder(event), event.capture.objects())
    capture, found = event.capture, rows.get(CAPTURES, (event.run_id,))
    if found is not None:
        capture = capture.over(RunCapture.model_validate(found["capture"]))
    said = capture.model_dump(mode="json")
    rows.put(CAPTURES, CAPTURES.first(run_id=event.run_id, capture=said, captured_at=time))
