"""What sinks that keep no files have aside: Parquet files in the platform's place of datasets, until they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from events.language.pipelines.connections import Connection
from events.language.pipelines.manifests import CommitFile, CommitManifest
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.opening import datasets_root, open_folder

_PART = 8 << 20
_ROWS = 10_000


class Spool:
    """The files of attempts."""

    def __init__(self, context: IoContext) -> None:
        root, type_ = datasets_root(context)
        self._context = context
        self._folder: Folder = open_folder(f"{root}/_forgelog_sent", type_, Connection(), context, "")

    def url(self, attempt: str) -> str:
        return f"{self._folder.url}/{attempt}"

    def put(self, attempt: str, local: Path, files: Sequence[CommitFile]) -> None:
        self._folder.remove_folder(attempt)
        try:
            for file in files:
                self._folder.upload(local / file.path, f"{attempt}/{file.path}")
        except BaseException:
            self._folder.remove_folder(attempt)
            raise

    def mark(self, attempt: str, version: int) -> None:
        """Note that an attempt's rows are sent, and remove them."""
        self._folder.create(f"sent/{attempt}", str(version).encode())
        self.remove(attempt)

    def is_marked(self, attempt: str) -> bool:
        """Whether an attempt's rows are known to be sent."""
        return self._folder.head(f"sent/{attempt}") is not None

    def remove(self, attempt: str) -> None:
        self._folder.remove_folder(attempt)

    def rows(self, manifest: CommitManifest, keys: Sequence[str] = ()) -> Iterator[list[tuple[str, str | None]]]:
        """The rows as JSON objects, in their order, in lists of at most 10,000, each with the JSON of its keys: one
        key's value is the text itself. Raises StageError if the
        files are gone."""
        import duckdb

        for number, file in enumerate(manifest.files):
            path = self._context.scratch / f"spooled-{number}.parquet"
            with path.open("wb") as out:
                for start in range(0, file.bytes, _PART):
                    name = f"{manifest.attempt}/{file.path}"
                    out.write(self._folder.read_range(name, start, min(start + _PART, file.bytes)))
            connection = duckdb.connect()
            key = "NULL"
            if len(keys) == 1:
                key = f"CAST({sql.name(keys[0])} AS VARCHAR)"
            elif keys:
                parts = ", ".join(f"{sql.name(each)} := {sql.name(each)}" for each in keys)
                key = f"CAST(to_json(struct_pack({parts})) AS VARCHAR)"
            query = f"SELECT CAST(to_json(r) AS VARCHAR), {key} FROM read_parquet({sql.text(str(path))}) r"
            found = connection.execute(query)
            while some := found.fetchmany(_ROWS):
                yield some
            connection.close()
            path.unlink()


def headers_of(metadata: dict[str, str]) -> list[tuple[str, bytes]]:
    """A sink's metadata as headers of records."""
    return [(name, value.encode()) for name, value in metadata.items()]


def as_list(rows: list[tuple[str, str | None]]) -> bytes:
    """Rows as one list of JSON."""
    return b"[" + b",".join(value.encode() for value, _ in rows) + b"]"
