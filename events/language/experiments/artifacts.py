"""Artifacts: the files of a run, in folders. Their bytes are objects of the platform's store; events name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import OptionalIdentifier, Timestamp
from events.language.experiments.commands import RunCommand
from events.language.experiments.events import RunEvent
from events.language.file_paths import FilePath
from events.language.objects import ObjectRef

MAX_ARTIFACTS = 1_000
"""Most files in one command."""


class Artifact(Model):
    """A file of a run."""

    path: FilePath
    file: ObjectRef


def objects_of(artifacts: Sequence[Artifact]) -> Sequence[tuple[str, ObjectRef]]:
    """The files' bytes, each by its field of a command."""
    return [(f"artifacts.{number}.file", each.file) for number, each in enumerate(artifacts)]


class RunArtifact(Model):
    """A file of a run or of a logged model, or a folder that has some, as queries tell of it."""

    run_id: OptionalIdentifier = ""
    """The run that has it."""
    path: str
    is_folder: bool = False
    digest: str = ""
    """BLAKE3 of the file's bytes, by which they are fetched (``/v1/objects``); empty for a folder."""
    size: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Bytes; of a folder those of all files in it."""
    logged_at: Timestamp
    """When it was logged last; of a folder the newest of it."""
    model_id: OptionalIdentifier = ""
    """The logged model that has it."""


class LogArtifacts(RunCommand):
    """Name files of a run, each by its path. Put their bytes into the object store first. A path that has a file
    already has this one from here on."""

    artifacts: Annotated[tuple[Artifact, ...], Field(min_length=1, max_length=MAX_ARTIFACTS)]

    def objects(self) -> Sequence[tuple[str, ObjectRef]]:
        return objects_of(self.artifacts)


class RemoveArtifacts(RunCommand):
    """Take files out of a run; a folder's path takes all in it. What the run had stays in the history."""

    paths: Annotated[tuple[FilePath, ...], Field(min_length=1, max_length=MAX_ARTIFACTS)]


class ArtifactsLogged(RunEvent):
    """It has these files from here on."""

    artifacts: tuple[Artifact, ...]


class ArtifactsRemoved(RunEvent):
    """It has these files no more."""

    paths: tuple[FilePath, ...]
