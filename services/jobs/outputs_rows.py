"""The table of files that jobs keep: a row an attempt. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from events.language.jobs import JobOutputsKept
from events.projections.projection import Key, Row, Rows, Table
from events.projections.references import put_references, reference_keys

OUTPUTS = Table(
    name="outputs",
    key=("job_id", "task", "attempt"),
    columns={
        "job_id": "text",
        "task": "int",
        "attempt": "int",
        "node_id": "text",
        "digest": "text",
        "size": "bigint",
        "files": "int",
        "total_bytes": "bigint",
        "left_out": "bigint",
        "message": "text",
        "kept_at": "timestamptz",
    },
)
"""`digest` and `size` are of the manifest; null without one."""


def outputs_touched(event: JobOutputsKept) -> Iterable[tuple[Table, Key]]:
    """The rows that an event writes."""
    yield from ((OUTPUTS, (event.job_id, each.task, each.attempt)) for each in event.tasks)
    yield from reference_keys(event.job_id, [each.manifest for each in event.tasks if each.manifest is not None])


def put_outputs(event: JobOutputsKept, _job: Row, rows: Rows, time: datetime) -> None:
    """A row each, and the manifests among the objects that events name."""
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
