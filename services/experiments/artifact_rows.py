"""The table of runs' files. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel

from events.language.experiments import (
    ArtifactsLogged,
    ArtifactsRemoved,
)
from events.projections.projection import Key, Rows, Table
from events.projections.references import put_references, reference_keys
from events.projections.row_models import table_of


class ArtifactRow(BaseModel):
    """A file of a run."""

    run_id: str
    path: str
    digest: str
    size: int
    logged_at: datetime


ARTIFACTS = table_of(ArtifactRow, "run_artifacts", key=("run_id", "path"))


def touched(event: ArtifactsLogged | ArtifactsRemoved) -> Iterable[tuple[Table, Key]]:
    """The rows that an event writes."""
    if isinstance(event, ArtifactsLogged):
        yield from ((ARTIFACTS, (event.run_id, each.path)) for each in event.artifacts)
        yield from reference_keys(event.run_id, [each.file for each in event.artifacts])
    else:
        yield from ((ARTIFACTS, (event.run_id, path)) for path in event.paths)


def put(event: ArtifactsLogged | ArtifactsRemoved, rows: Rows, time: datetime) -> None:
    """Write the row of each file, and the reference to its object. The reference stays when the file is removed, since
    the history has it."""
    if isinstance(event, ArtifactsRemoved):
        for path in event.paths:
            rows.delete(ARTIFACTS, (event.run_id, path))
        return
    put_references(rows, event.run_id, [each.file for each in event.artifacts])
    for each in event.artifacts:
        row = ARTIFACTS.first(
            run_id=event.run_id, path=each.path, digest=each.file.digest, size=each.file.size, logged_at=time
        )
        rows.put(ARTIFACTS, row)
