"""The tables of files, of runs and of logged models. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel

from events.language.base import Message
from events.language.experiments import ArtifactsLogged, ArtifactsRemoved
from events.language.experiments.logged_models import LoggedModelFilesLogged, LoggedModelFilesRemoved
from events.projections.projection import Key, Rows, Table
from events.projections.references import holder, put_references, reference_keys
from events.projections.row_models import table_of


class FileRow(BaseModel):
    """A file."""

    path: str
    digest: str
    size: int
    logged_at: datetime


class ArtifactRow(FileRow):
    """A file of a run."""

    run_id: str


class ModelFileRow(FileRow):
    """A file of a logged model."""

    model_id: str


ARTIFACTS = table_of(ArtifactRow, "run_artifacts", key=("run_id", "path"))
MODEL_FILES = table_of(ModelFileRow, "logged_model_files", key=("model_id", "path"))

TABLES = (ARTIFACTS, MODEL_FILES)

Logged = ArtifactsLogged | LoggedModelFilesLogged
Removed = ArtifactsRemoved | LoggedModelFilesRemoved


def touched(event: Message) -> Iterable[tuple[Table, Key]]:
    """The rows that an event writes."""
    if isinstance(event, Logged):
        yield from ((_table(event), (event.subject(), each.path)) for each in event.artifacts)
        yield from reference_keys(holder(event), [each.file for each in event.artifacts])
    elif isinstance(event, Removed):
        yield from ((_table(event), (event.subject(), path)) for path in event.paths)


def put(event: Message, rows: Rows, time: datetime) -> None:
    """Write the row of each file, and the reference to its object. The reference stays when the file is removed, since
    the history has it."""
    if isinstance(event, Removed):
        for path in event.paths:
            rows.delete(_table(event), (event.subject(), path))
    elif isinstance(event, Logged):
        table, id = _table(event), event.subject()
        put_references(rows, holder(event), [each.file for each in event.artifacts])
        for each in event.artifacts:
            row = table.first(
                **{event.subject_from: id},
                path=each.path,
                digest=each.file.digest,
                size=each.file.size,
                logged_at=time,
            )
            rows.put(table, row)


def _table(event: Logged | Removed) -> Table:
    return ARTIFACTS if isinstance(event, ArtifactsLogged | ArtifactsRemoved) else MODEL_FILES
