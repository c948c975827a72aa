"""What reading and writing are told, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from events.language.pipelines.arrivals import ArrivedFile
from events.language.pipelines.columns import Column
from events.language.pipelines.connections import Connection, DataSourceType
from events.language.pipelines.sources import DataSource

NO_CONNECTION = Connection()

Offsets = Mapping[int, tuple[int, int]]
"""Of a topic's partitions: the first offset to read, and the first not to. What is not named is not read."""


class DatasetAt(NamedTuple):
    """Where a version of a dataset, or the quarantine of one, is: what the sink that it came by says of itself."""

    dataset_id: str
    version: int
    type: DataSourceType
    base: str
    """As in its `CommitManifest`."""
    connection: Connection = NO_CONNECTION
    """Of the sink that it came by, where that is no dataset of the platform's own folder."""
    stored: int = 0
    """Under which version its files are kept, where that is an older one; 0: under its own."""
    empty: tuple[Column, ...] = ()
    """The columns, where it has no rows and no files."""


@dataclass(frozen=True, slots=True)
class IoContext:
    """What a stage run brings along."""

    scratch: Path
    """A folder of the stage run's own, which exists."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    interval_start: datetime | None = None
    interval_end: datetime | None = None
    secrets: Callable[[str], str] = field(default=lambda name: _no_secret(name))
    """The value of a secret by its name. Raises LookupError if the node has none of that name."""
    datasets_url: str = ""
    """Where datasets are kept: ``file:///folder`` or ``s3://bucket/prefix`` with credentials in the environment."""
    project: str = "local/default"
    dataset_versions: Callable[[str, int], DatasetAt] = field(default=lambda name, version: _no_dataset(name, version))
    """A published version of a dataset by its name or id; 0 is the newest one. Raises LookupError."""
    topics: Mapping[tuple[str, str], Offsets] = field(default_factory=dict)
    """What is read of a topic, by its cluster's address and its name. One that is not there: up to its present end."""
    arrived: Mapping[str, tuple[ArrivedFile, ...]] = field(default_factory=dict)
    """The files of sources that name a trigger, by that."""


class ResolvedFile(NamedTuple):
    """A file to read."""

    url: str
    """Whole, as people know it; a local file's path."""
    size: int
    etag: str
    """Changes with the content: the store's, or a local file's time of change."""
    partition: Mapping[str, str | None] = {}
    """Of a version's file: the values of the columns that are not in it."""
    rows: int | None = None
    """None: what names the file does not say."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a source means now."""

    source: DataSource
    context: IoContext
    identity: tuple[str, ...]
    """Is the same as long as the data is the same: what a cache may go by. Empty: nothing can tell."""
    files: tuple[ResolvedFile, ...] = ()
    partitions: tuple[Column, ...] = ()
    """Columns whose values are not in the files."""
    columns: tuple[Column, ...] = ()
    """That a version has, in its order; empty where the source does not tell before it is read."""
    connection: Connection = NO_CONNECTION
    """By which the files are reached."""
    type: DataSourceType = DataSourceType.FILE_SYSTEM
    """Of the place of the files."""
    dataset_id: str = ""
    version: int = 0
    """Of a dataset."""
    offsets: Offsets = field(default_factory=dict)
    """Of a topic's partitions: what is read."""

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def rows(self) -> int | None:
        """Of all files, as what names them says; None where it does not."""
        known = [file.rows for file in self.files if file.rows is not None]
        return sum(known) if known and len(known) == len(self.files) else None

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits, other ones for other files."""
        digest = blake2b(digest_size=8)
        for file in self.files:
            digest.update(f"{file.url}\0{file.etag}\0{sorted(file.partition.items())}\0".encode())
        return digest.hexdigest()


class Published(NamedTuple):
    """What a publication came to."""

    version: int
    location: str
    """Where the rows are now, for people."""
    rows: int
    bytes: int
    already: bool = False
    """Somebody had published this version before."""


def _no_secret(name: str) -> str:
    raise LookupError(name)


def _no_dataset(name: str, version: int) -> DatasetAt:
    raise LookupError(f"{name}, version {version}")
