"""What a stage has written aside, before it is published: `CommitManifest`.

The event that commits a version carries it, so that any worker can publish the version, more than once if need be.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.file_paths import FilePath
from events.language.objects import ObjectRef
from events.language.pipelines.columns import ColumnName
from events.language.pipelines.connections import MAX_LOCATION, DataSourceType, Location
from events.language.pipelines.formats import Columns
from events.language.pipelines.sinks import WriteMode

MAX_MANIFEST_BYTES = 256 << 10
"""Longest manifest, as JSON, that an event carries. A longer one's files are an object."""

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""The partition of rows that have no value in its column, as Hive writes it."""

AttemptName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,299}$"), Field(examples=["daily.abcdef.7.clean.1"])
]
"""A run of a stage: what it writes aside has this name, so that attempts do not meet."""

Count = Annotated[int, Field(ge=0)]


class CommitFile(Model):
    """A file of a version."""

    path: FilePath
    """From the manifest's `aside` on."""
    bytes: Count
    rows: Count
    partition: dict[ColumnName, Annotated[str, StringConstraints(max_length=4_096)]] = Field(
        default_factory=dict, max_length=16
    )
    """Values of the columns that the sink is partitioned by, as text."""
    bucket: Annotated[int, Field(ge=-1, lt=1_024)] = -1
    """-1: the sink has no buckets."""
    checksum: Annotated[str, StringConstraints(pattern=r"^$|^[0-9a-f]{64}$")] = ""
    """BLAKE3 of its bytes."""


class CommitManifest(Model):
    """What an attempt has written aside."""

    attempt: AttemptName
    type: DataSourceType
    """Of the sink."""
    mode: WriteMode
    base: Location
    """Where the sink lies: the URL of a folder or a topic, or a database's URL with its table behind ``#``. It has no
    parameters any more, and no secrets."""
    aside: Annotated[str, StringConstraints(max_length=MAX_LOCATION)]
    """Where the files are: the URL of a folder; of a database the staging table."""
    files: tuple[CommitFile, ...] = Field(default=(), max_length=100_000)
    files_object: ObjectRef | None = None
    """The object that has `files`, as a list in JSON, where they are too many for an event. `files` is empty then."""
    columns: Columns
    """Of all rows, those that the sink is partitioned by included."""
    rows: Count
    bytes: Count

    @model_validator(mode="after")
    def _one_list(self) -> CommitManifest:
        if self.files and self.files_object is not None:
            raise ValueError("files and files_object are both given; give one of them")
        return self
