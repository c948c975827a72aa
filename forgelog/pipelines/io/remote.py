"""Files as DuckDB reads them: under names of our own, which it can't take for patterns, from any folder.

A name is ``inDIGEST://NUMBER/day=2026-05-09/file.parquet``: folders are the values of partitions, the number tells
files apart. The file system does not list, and knows only the files that it was given, so a stage reads nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.paths import partition_name
from forgelog.pipelines.problems import StageError

_BLOCK = 1 << 20
"""Bytes that are read at least: DuckDB asks for a few at a time, and each request takes some milliseconds."""


class RemoteFile(NamedTuple):
    """Where the bytes are."""

    folder: Folder
    name: str
    size: int
    etag: str
    url: str
    """As people know it."""


class FileTable(AbstractFileSystem):  # type: ignore[misc]
    """A file system of the files that it was given."""

    cachable = False

    def __init__(self, protocol: str, files: Mapping[str, RemoteFile]) -> None:
        super().__init__(skip_instance_cache=True)
        self.protocol = protocol
        self.files = {self._strip_protocol(name): file for name, file in files.items()}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.partition("://")[2] or path

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if name not in self.files:
            raise FileNotFoundError(path)
        return {"name": name, "size": self.files[name].size, "type": "file"}

    def exists(self, path: str, **options: Any) -> bool:
        return self._strip_protocol(path) in self.files

    def modified(self, path: str) -> datetime:
        """A file does not change under its name: other bytes have another etag, and another digest in the name."""
        return datetime.fromtimestamp(0, UTC)

    def glob(self, path: str, **options: Any) -> list[str]:
        return [path] if self.exists(path) else []

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        return []

    def _open(self, path: str, mode: str = "rb", **options: Any) -> _Opened:
        if mode != "rb":
            raise PermissionError("a source is only read")
        return _Opened(self, self._strip_protocol(path), mode, block_size=_BLOCK, cache_type="readahead")


class _Opened(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        file: RemoteFile = self.fs.files[self.path]
        found = file.folder.read_range(file.name, start, min(end, file.size))
        if len(found) < min(end, file.size) - start:
            remedy = "see who writes it, and run the stage again"
            raise StageError("path", f"{file.url} became shorter while it was read", remedy, transient=True)
        return found


def virtual_name(protocol: str, number: int, url: str, partition: Mapping[str, str | None]) -> str:
    """The name under which DuckDB reads a file."""
    folders = "".join(partition_name(column, value) + "/" for column, value in partition.items())
    return f"{protocol}://{number}/{folders}{quote(url.rsplit('/', 1)[-1], safe=' ')}"
