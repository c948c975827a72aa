"""New versions of files that a table has: without the rows that an upsert replaces, and joined where they are small.

It runs while a version is published, since only then it is known which files the table has. Its files have names that
depend on the version and the old file alone: repeated after a crash, it writes the same ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.formats import FileFormat
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.sinks import DataSink, WriteMode
from events.language.pipelines.sources import DataSource, SchemaInference
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.attaching import attach
from forgelog.pipelines.io.context import IoContext, Resolved, ResolvedFile
from forgelog.pipelines.io.copying import write_files
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.paths import partition_name
from forgelog.pipelines.io.versions import VersionFile
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

if TYPE_CHECKING:
    import duckdb


class Merge:
    """Of the files of one publication."""

    def __init__(
        self,
        folder: Folder,
        new: Sequence[VersionFile],
        type_: DataSourceType,
        sink: DataSink,
        manifest: CommitManifest,
        context: IoContext,
        columns: Sequence[Column],
    ) -> None:
        """`columns` are those of the table as it is; `new` are the new files, where they are."""
        self._folder = folder
        self._new = new
        self._type = type_
        self._sink = sink
        self._manifest = manifest
        self._context = context
        known = {column.name for column in columns}
        self._columns = (*columns, *(column for column in manifest.columns if column.name not in known))

    def without_new_keys(self, before: Iterable[VersionFile], version: int, prefix: str) -> tuple[VersionFile, ...]:
        """The table's files, those of them written anew that have rows with the keys of new ones."""
        before = tuple(before)
        if not self._new:
            return before
        connection = self._connection()
        attach(connection, "new", self._resolved(self._new))
        keys = sql.names(self._sink.keys)
        # read once: there may be thousands of files, old and new
        connection.execute(f"CREATE TABLE new_keys AS SELECT DISTINCT {keys} FROM new")
        changed = {file.path for file in self._with_new_keys(connection, before)}
        kept: list[VersionFile] = []
        for number, file in enumerate(before):
            if file.path not in changed:
                kept.append(file)
                continue
            attach(connection, "old", self._resolved([file]))
            rest = f"SELECT {self._stored('old')} FROM old ANTI JOIN new_keys USING ({keys})"
            kept += self._rewritten(connection, rest, file, f"{prefix}{_folders(file)}part-{version}-m{number:05}")
        connection.close()
        return tuple(kept)

    def _with_new_keys(
        self, connection: duckdb.DuckDBPyConnection, files: Sequence[VersionFile]
    ) -> Iterator[VersionFile]:
        """Those of the files that have rows with new keys. Many are looked at together, and divided where some have."""
        if not files:
            return
        attach(connection, "old", self._resolved(files))
        query = f"SELECT 1 FROM old SEMI JOIN new_keys USING ({sql.names(self._sink.keys)}) LIMIT 1"
        if not connection.execute(query).fetchall():
            return
        if len(files) == 1:
            yield files[0]
            return
        half = len(files) // 2
        yield from self._with_new_keys(connection, files[:half])
        yield from self._with_new_keys(connection, files[half:])

    def compacted(
        self, before: Sequence[VersionFile], new: Sequence[VersionFile], version: int, prefix: str
    ) -> tuple[tuple[VersionFile, ...], tuple[VersionFile, ...]]:
        """The table's files and the new ones; where a partition has many small old ones, these are joined.

        The rows of the joined files must be those of the old ones: their number and the sum of their hashes.
        """
        groups: dict[tuple[object, ...], list[VersionFile]] = {}
        for file in before:
            if file.bytes < self._sink.compaction.target_bytes // 2:
                groups.setdefault((*sorted(file.partition.items(), key=str), file.bucket), []).append(file)
        kept = list(before)
        for number, several in enumerate(groups.values()):
            if len(several) < max(self._sink.compaction.min_files, 2):
                continue
            connection = self._connection()
            attach(connection, "old", self._resolved(several))
            query = f"SELECT {self._stored('old')} FROM old"
            name = f"{prefix}{_folders(several[0])}part-{version}-c{number:05}"
            joined = self._rewritten(connection, query, several[0], name)
            attach(connection, "joined", self._resolved(joined))
            if _sums(connection, "old") != _sums(connection, "joined"):
                raise StageError("compaction", f"the joined rows of {shown(name)} differ", "run the stage again")
            connection.close()
            kept = [file for file in kept if file not in several] + joined
        return tuple(kept), tuple(new)

    def _stored(self, relation: str) -> str:
        """All columns that files have: not those that folders tell."""
        return f"* EXCLUDE ({sql.names(self._sink.partition_by)})" if self._sink.partition_by else "*"

    def _rewritten(
        self, connection: duckdb.DuckDBPyConnection, query: str, like: VersionFile, name: str
    ) -> list[VersionFile]:
        local = self._context.scratch / "merge"
        shutil.rmtree(local, ignore_errors=True)
        plain = {"partition_by": (), "bucket_by": None, "mode": WriteMode.APPEND, "keys": ()}
        try:
            done = []
            files = write_files(connection, query, self._sink.model_copy(update=plain), local, "m")
            for number, file in enumerate(files):
                if not file.rows:
                    continue
                path = f"{name}-{number}{file.path[file.path.index('.') :]}"
                self._folder.upload(local / file.path, path)
                done.append(like.model_copy(update={**_measures(file), "path": path}))
            return done
        finally:
            shutil.rmtree(local, ignore_errors=True)

    def _resolved(self, files: Sequence[VersionFile]) -> Resolved:
        format_ = self._sink.file_format
        types = {column.name: column for column in self._columns}
        partitions = tuple(types[name] for name in self._sink.partition_by)
        own = tuple(column for column in self._columns if column not in partitions)
        source = DataSource(
            type=self._type,
            path=f"{self._folder.url}/",
            format=format_,
            # JSON tells no types; those of CSV are left as they are written
            columns=own if format_.type is FileFormat.JSON else (),
            infer=SchemaInference(text_only=True),
        )
        found = tuple(
            ResolvedFile(f"{self._folder.url}/{file.path}", file.bytes, file.checksum, file.partition) for file in files
        )
        return Resolved(
            source,
            self._context,
            (),
            found,
            partitions,
            connection=self._sink.connection,
            type=self._type,
        )

    def _connection(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        return duckdb.connect(config={**settings, "temp_directory": str(self._context.scratch / "spill")})


def _sums(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[object, ...]:
    names = [row[0] for row in connection.execute(f"DESCRIBE {relation}").fetchall()]
    query = f"SELECT count(*), sum(hash({sql.names(sorted(names))})::HUGEINT) FROM {relation}"
    rows: list[tuple[object, ...]] = connection.execute(query).fetchall()
    return rows[0]


def _folders(file: VersionFile) -> str:
    return "".join(partition_name(column, value) + "/" for column, value in file.partition.items())


def _measures(file: object) -> dict[str, object]:
    return {name: getattr(file, name) for name in ("bytes", "rows", "checksum")}
