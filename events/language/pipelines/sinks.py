"""What a stage writes: `DataSink`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import DisplayName
from events.language.pipelines.columns import ColumnName
from events.language.pipelines.connections import (
    FILE_PLACES,
    Connection,
    DataSourceType,
    Location,
    PlaceName,
    check_placeholders,
)
from events.language.pipelines.formats import Compression, DataFormat, FileFormat, check_names
from events.language.pipelines.sources import DatasetName, TableName, TopicName


class WriteMode(StrEnum):
    """What becomes of the rows that a sink has."""

    OVERWRITE = "overwrite"
    """The new rows take their place."""
    APPEND = "append"
    """They stay."""
    UPSERT = "upsert"
    """Those with the keys of a new row give way to it; the others stay."""
    ERROR = "error"
    """There may be none: the stage fails otherwise."""


class OverwriteScope(StrEnum):
    """What `overwrite` replaces."""

    TABLE = "table"
    PARTITIONS = "partitions"
    """Only those that a new row lies in."""


class BucketBy(Model):
    """Rows are divided by the first 32 bits of the MD5 of their columns' text, modulo `count`. A bucket has files of
    its own."""

    count: Annotated[int, Field(ge=2, le=1_024)]
    columns: tuple[ColumnName, ...] = Field(min_length=1, max_length=16)


class Compaction(Model):
    """How large files become."""

    target_bytes: Annotated[int, Field(ge=1 << 20, le=16 << 30)] = 256 << 20
    """About how large a file becomes before the next one is begun."""
    min_files: Annotated[int, Field(ge=0, le=100_000)] = 0
    """When a partition has so many files below half of `target_bytes`, `append` joins them; 0: never."""


class DataSink(Model):
    """What a stage writes."""

    id: PlaceName = ""
    """The dataset that the place is, with its versions, rules and lineage; empty: where it lies says which. Of a place
    that has versions under another name, the next one is refused: it would be version 1 again."""
    name: DisplayName | None = None
    type: DataSourceType
    connection: Connection = Connection()
    path: Location = ""
    """A folder, from the connection's URL on, or a whole URL; over HTTP, where rows are sent."""
    table: TableName = ""
    topic: TopicName = ""
    dataset: DatasetName = ""
    format: DataFormat | None = None
    """Of files: Parquet if not given. Of Kafka's values and of HTTP: JSON."""
    mode: WriteMode = WriteMode.OVERWRITE
    scope: OverwriteScope = OverwriteScope.TABLE
    """Of the mode `overwrite`."""
    keys: tuple[ColumnName, ...] = Field(default=(), max_length=64)
    """Of the mode `upsert`: columns that tell rows apart. Of Kafka: columns that are the records' key."""
    partition_by: tuple[ColumnName, ...] = Field(default=(), max_length=16)
    """Columns whose values become names of folders, ``day=2026-05-09``, in this order; files don't have them."""
    bucket_by: BucketBy | None = None
    compaction: Compaction = Compaction()
    metadata: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$")],
        Annotated[str, StringConstraints(max_length=4_096)],
    ] = Field(default_factory=dict, max_length=64)
    """Is written into the files' footers, the table's comment or the records' headers."""
    max_partitions: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """More values of `partition_by` in one version are an error: each makes a folder."""

    @model_validator(mode="after")
    def _located(self) -> DataSink:
        if self.id and self.dataset:
            raise ValueError("id is nothing of a sink of type dataset, whose dataset names it; leave it out")
        wanted = _WANTED[self.type]
        given = [field for field in ("path", "table", "topic", "dataset") if getattr(self, field)]
        if given != [wanted]:
            found = next((field for field in given if field != wanted), "")
            problem = f"{found} is nothing of a sink of type {self.type}" if found else f"{wanted} is empty"
            raise ValueError(f"{problem}; a sink of type {self.type} needs {wanted}")
        if self.type in (DataSourceType.DATABASE, DataSourceType.KAFKA) and not self.connection.url:
            raise ValueError(f"connection.url is empty; a sink of type {self.type} needs it")
        check_placeholders((self.path,))
        return self

    @model_validator(mode="after")
    def _possible(self) -> DataSink:
        if self.mode is WriteMode.UPSERT and not self.keys:
            raise ValueError("mode upsert needs keys: the columns that tell rows apart")
        if self.keys and self.mode is not WriteMode.UPSERT and self.type is not DataSourceType.KAFKA:
            raise ValueError(f"keys are nothing of mode {self.mode}; leave them out or make the mode upsert")
        if self.scope is OverwriteScope.PARTITIONS and (self.mode is not WriteMode.OVERWRITE or not self.partition_by):
            raise ValueError("scope partitions needs mode overwrite and partition_by")
        if self.type in (DataSourceType.KAFKA, DataSourceType.HTTP) and self.mode is not WriteMode.APPEND:
            raise ValueError(f"mode {self.mode} is not possible: {self.type} only takes more; make the mode append")
        if self.type not in FILE_PLACES and (self.partition_by or self.bucket_by):
            field = "partition_by" if self.partition_by else "bucket_by"
            raise ValueError(f"{field} is nothing of a sink of type {self.type}; leave it out")
        buckets = self.bucket_by.columns if self.bucket_by else ()
        for field, names in (("keys", self.keys), ("partition_by", self.partition_by), ("bucket_by.columns", buckets)):
            check_names(names, field)
        return self

    @model_validator(mode="after")
    def _formatted(self) -> DataSink:
        kind = self.format.type if self.format is not None else None
        if kind is not None and kind not in _FORMATS[self.type]:
            known = ", ".join(sorted(_FORMATS[self.type])) or "none"
            raise ValueError(f"format {kind} is not possible in a sink of type {self.type}; give {known}")
        if kind is FileFormat.DELTA and self.bucket_by is not None:
            raise ValueError("bucket_by is not possible with format delta; leave it out")
        if self.metadata and kind in (FileFormat.CSV, FileFormat.JSON):
            raise ValueError(f"metadata has no place in files of {kind}; leave it out or choose another format")
        return self

    @property
    def file_format(self) -> DataFormat:
        """How its rows are written."""
        if self.format is not None:
            return self.format
        rows = self.type in (DataSourceType.KAFKA, DataSourceType.HTTP)
        return DataFormat(type=FileFormat.JSON if rows else FileFormat.PARQUET, compression=Compression.AUTO)


_WANTED = {
    DataSourceType.S3: "path",
    DataSourceType.GCS: "path",
    DataSourceType.AZURE_BLOB: "path",
    DataSourceType.FILE_SYSTEM: "path",
    DataSourceType.HTTP: "path",
    DataSourceType.DATABASE: "table",
    DataSourceType.KAFKA: "topic",
    DataSourceType.DATASET: "dataset",
}
"""The field that says where a sink of a type lies."""

_FORMATS: dict[DataSourceType, frozenset[FileFormat]] = {
    DataSourceType.S3: frozenset(FileFormat),
    DataSourceType.GCS: frozenset(FileFormat),
    DataSourceType.AZURE_BLOB: frozenset(FileFormat),
    DataSourceType.FILE_SYSTEM: frozenset(FileFormat),
    DataSourceType.HTTP: frozenset({FileFormat.JSON}),
    DataSourceType.DATABASE: frozenset(),
    DataSourceType.KAFKA: frozenset({FileFormat.JSON}),
    DataSourceType.DATASET: frozenset({FileFormat.PARQUET}),
}
