"""Which files a version of a folder has: ``_forgelog/N.json`` in it.

The file of a version is written once (`Folder.create`), after its files, and never changed. So a version is there whole
or not at all, and of two that publish the same version one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import Field, ValidationError

from events.language.base import Model
from events.language.pipelines.columns import Column, ColumnName
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.problems import StageError

KEPT_IN = "_forgelog"
"""The folder of versions; hidden, as Hive and Spark have it."""

_NAME = re.compile(rf"{KEPT_IN}/(\d{{1,10}})\.json")

UNKNOWN = -1


class VersionFile(Model):
    """A file of a version."""

    path: str
    """From the folder on."""
    bytes: int
    rows: int
    """-1: it was there before any version, and nobody counted."""
    partition: dict[str, str | None] = Field(default_factory=dict)
    bucket: int = -1
    checksum: str = ""


class FolderVersion(Model):
    """A version of a folder."""

    version: int
    attempt: str
    columns: tuple[Column, ...]
    partition_by: tuple[ColumnName, ...] = ()
    files: tuple[VersionFile, ...] = ()
    """All that can be read in this version, those of earlier ones included."""
    removes: tuple[str, ...] = ()
    """Files that were there and are none of its."""

    @property
    def rows(self) -> int:
        return sum(max(file.rows, 0) for file in self.files)

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def numbers(folder: Folder) -> Iterator[int]:
    """The versions that a folder has."""
    for entry in folder.walk(KEPT_IN + "/"):
        if found := _NAME.fullmatch(entry.name):
            yield int(found[1])


def name_of(version: int) -> str:
    return f"{KEPT_IN}/{version}.json"


def read_version(folder: Folder, version: int, field: str) -> FolderVersion | None:
    """A version; None if it is not published there."""
    data = folder.read(name_of(version))
    if data is None:
        return None
    try:
        return FolderVersion.model_validate_json(data)
    except ValidationError:
        problem = f"{folder.url}/{name_of(version)} is no list of a version's files"
        raise StageError(field, problem, "it was changed from outside: restore it, or publish a new version") from None


def newest(folder: Folder, field: str) -> FolderVersion | None:
    """The newest version; None if nothing is published there."""
    while (number := max(numbers(folder), default=0)) > 0:
        # it may be removed by the publication of a newer one between the two looks
        if (found := read_version(folder, number, field)) is not None:
            return found
    return None
