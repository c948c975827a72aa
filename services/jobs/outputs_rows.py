"""The table of files that jobs keep: one row for each attempt. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel

from events.language.jobs import JobOutputsKept
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import put_references, reference_keys
from events.projections.row_models import table_of
from services.jobs.rows import Number


class OutputsRow(BaseModel):
    """The files that a job keeps of an attempt, or why there are none."""

    job_id: str
    task: Number
    attempt: Number
    node_id: str
    digest: str | None
    """Digest of the manifest; null if no file is kept, as is `size`."""
    size: int | None
    files: Number
    total_bytes: int
    left_out: int
    message: str
    kept_at: datetime


OUTPUTS = table_of(OutputsRow, "outputs", key=("job_id", "task", "attempt"))


def outputs_touched(event: JobOutputsKept) -> Iterable[tuple[Table, Key]]:
    """The rows that an event writes."""
    yield from ((OUTPUTS, (event.job_id, each.task, each.attempt)) for each in event.tasks)
    yield from reference_keys(event.job_id, [each.manifest for each in event.tasks if each.manifest is not None])


def put_outputs(event: JobOutputsKept, _job: Row, rows: Rows, time: datetime) -> None:
    """Write the row of each attempt, and the reference to its manifest."""
    for each in event.tasks:
        manifest = each.manifest
        if manifest is not None:
            put_references(rows, event.job_id, [manifest], bundle=True)
        rows.put(
            OUTPUTS,
            {
                "job_id": event.job_id,
                "task": each.task,
                "attempt": each.attempt,
                "node_id": event.node_id,
                "digest": manifest.digest if manifest else None,
                "size": manifest.size if manifest else None,
                "files": each.files,
                "total_bytes": each.total_bytes,
                "left_out": each.left_out,
                "message": each.message,
                "kept_at": time,
            },
        )
