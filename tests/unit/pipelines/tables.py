"""Sinks that tests write to and read from, on a file system and in a store."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from events.language.pipelines.columns import Column
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import DataSource
from forgelog.pipelines.io import IoContext, Published, allowed_paths, attach, publish, resolve, write_aside
from tests.s3 import KEY, SECRET, Server

SECRETS = {"store": json.dumps({"access_key_id": KEY, "secret_access_key": SECRET})}
_NUMBERS = itertools.count(1)


def context_of(folder: Path, **given: Any) -> IoContext:
    """A stage run's, with a scratch folder of its own."""
    scratch = folder / f"scratch-{next(_NUMBERS)}"
    scratch.mkdir(parents=True)
    settings: dict[str, Any] = {"datasets_url": f"file://{folder}/datasets", "secrets": SECRETS.__getitem__}
    return IoContext(scratch=scratch, **settings | given)


def rows(source: DataSource, context: IoContext) -> tuple[tuple[Column, ...], list[tuple[Any, ...]]]:
    """A source's columns and rows, read as a stage reads them: on a locked connection that may read nothing else."""
    resolved = resolve(source, context)
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    allowed = ", ".join("'" + path.replace("'", "''") + "'" for path in allowed_paths(resolved))
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute(f"SET allowed_directories = ['{context.scratch}/']")
    columns = attach(connection, "rows", resolved).columns
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return columns, sorted(connection.execute("SELECT * FROM rows").fetchall(), key=str)


@dataclass
class Table:
    """A folder that versions are published in."""

    place: dict[str, Any]
    """``type``, ``path`` and ``connection`` of its sinks and sources."""
    folder: Path
    """Of the test's own."""
    contexts: IoContext = field(default=None)  # type: ignore[assignment]
    _attempts: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Of stage runs: each writes once, for a publication clears away what earlier attempts of its stage run left."""

    def __post_init__(self) -> None:
        self.contexts = self.contexts or context_of(self.folder)

    def sink(self, **given: Any) -> DataSink:
        return DataSink.model_validate(self.place | given)

    def write(self, query: str, **given: Any) -> tuple[DataSink, CommitManifest]:
        """Aside, as an attempt of its own."""
        sink = self.sink(**given)
        return sink, write_aside(duckdb.connect(), query, sink, f"run-{next(self._attempts)}.1", self.contexts)

    def publish(self, version: int, query: str, **given: Any) -> Published:
        sink, manifest = self.write(query, **given)
        return publish(sink, manifest, version, self.contexts)

    def read(self) -> list[tuple[Any, ...]]:
        """As the platform reads it: by the newest version's files."""
        return self._rows(f"{self.place['path']}/")

    def seen(self) -> list[tuple[Any, ...]]:
        """As others see it: all files of the folder."""
        return self._rows(f"{self.place['path']}/**/*.parquet")

    def _rows(self, path: str) -> list[tuple[Any, ...]]:
        source = DataSource.model_validate(self.place | {"path": path})
        return rows(source, context_of(self.folder, secrets=self.contexts.secrets))[1]


def local_table(folder: Path) -> Table:
    return Table({"type": "file_system", "path": f"{folder}/table"}, folder)


def store_table(server: Server, folder: Path) -> Table:
    options = {"endpoint": server.address, "region": "us-east-1"}
    place = {"type": "s3", "path": f"s3://{server.bucket()}/table"}
    return Table(place | {"connection": {"options": options, "secret": {"name": "store"}}}, folder)
