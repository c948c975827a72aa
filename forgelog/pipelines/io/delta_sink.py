"""Tables of Delta Lake as sinks.

Rows are aside as Parquet files, beside the table. A publication is one commit of the table with the application's
transaction (sink, version): the log takes no second one, and a late one finds a newer version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from events.language.pipelines.columns import Column
from events.language.pipelines.formats import FileFormat
from events.language.pipelines.manifests import NO_VALUE, CommitFile, CommitManifest
from events.language.pipelines.sinks import DataSink, OverwriteScope, WriteMode
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.attaching import attach
from forgelog.pipelines.io.context import IoContext, Published, Resolved, ResolvedFile
from forgelog.pipelines.io.delta import open_table, storage_options
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.late import earlier, other_attempt, superseded
from forgelog.pipelines.io.opening import open_folder, type_of_url
from forgelog.pipelines.problems import StageError

_APPLICATION = "forgelog"
"""Names the writer in the table's log: one table has one sink."""
_ROWS = 20_000


class DeltaPlace:
    """See the module, and `forgelog.pipelines.io.places.Place`."""

    def __init__(self, sink: DataSink, base: str, context: IoContext) -> None:
        self.base = base
        self._context = context
        self._connection = sink.connection
        self._type = type_of_url(base)
        folder, _, self._name = base.rpartition("/")
        self._beside: Folder = open_folder(folder, self._type, sink.connection, context, "path")

    def aside(self, attempt: str) -> str:
        return f"{self._beside.url}/{self._aside_name(attempt)}"

    def _aside_name(self, attempt: str) -> str:
        # not in the table: VACUUM removes what its log does not name
        return f".{self._name}.forgelog/{attempt}"

    def check(self, sink: DataSink) -> None:
        table = self._table()
        if table is None:
            return
        if sink.mode is WriteMode.ERROR and table.count():
            raise StageError("mode", f"is error, and the table at {self.base} has rows already", "choose another mode")
        have = tuple(table.metadata().partition_columns)
        whole = sink.mode is WriteMode.OVERWRITE and sink.scope is OverwriteScope.TABLE
        if have != sink.partition_by and not whole:
            problem = f"is not that of the table, which is divided by {', '.join(have) or 'nothing'}"
            raise StageError("partition_by", problem, "take the same columns, or overwrite the whole table")

    def put_aside(
        self, sink: DataSink, attempt: str, local: Path, files: Sequence[CommitFile], columns: Sequence[Column]
    ) -> None:
        aside = self._aside_name(attempt)
        self._beside.remove_folder(aside)
        try:
            for file in files:
                self._beside.upload(local / file.path, f"{aside}/{file.path}")
        except BaseException:
            self._beside.remove_folder(aside)
            raise

    def publish(self, sink: DataSink, manifest: CommitManifest, version: int) -> Published:
        from deltalake.exceptions import CommitFailedError, DeltaError

        for _ in range(3):
            table = self._table()
            if (found := self._published(table, manifest, version)) is not None:
                self._clear(manifest)
                return found
            self.check(sink)
            try:
                self._commit(table, sink, manifest, version)
            except CommitFailedError:
                continue  # another commit was first: perhaps of this version
            except (DeltaError, OSError) as error:
                first = str(error).splitlines()[0] if str(error) else type(error).__name__
                problem = f"can't commit to the table at {self.base}: {first[:300]}"
                raise StageError("path", problem, "compare the rows' columns with the table's") from None
            self._clear(manifest)
            return Published(version, self.base, manifest.rows, manifest.bytes)
        raise StageError("path", f"others commit to {self.base} all the time", "try again later", transient=True)

    def _clear(self, manifest: CommitManifest) -> None:
        for each in earlier(manifest.attempt):
            self._beside.remove_folder(self._aside_name(each))
        self.discard(manifest)

    def _table(self) -> Any:
        return open_table(self.base, self._type, self._connection, self._context)

    def _published(self, table: Any, manifest: CommitManifest, version: int) -> Published | None:
        newest = table.transaction_version(_APPLICATION) if table is not None else None
        if newest is None or newest < version:
            return None
        if newest > version:
            raise superseded(version, newest, self.base)
        attempts = [each.get("forgelog.attempt") for each in table.history(100) if "forgelog.attempt" in each]
        if attempts and attempts[0] != manifest.attempt:
            raise other_attempt(version, str(attempts[0]), self.base)
        return Published(version, self.base, manifest.rows, manifest.bytes, already=True)

    def _commit(self, table: Any, sink: DataSink, manifest: CommitManifest, version: int) -> None:
        from deltalake import CommitProperties, Transaction, write_deltalake

        metadata = {"forgelog.attempt": manifest.attempt, **sink.metadata}
        commit = CommitProperties(metadata, 0, [Transaction(_APPLICATION, version)])
        rows = self._rows(sink, manifest)
        options = storage_options(self._type, self._connection, self._context)
        given: dict[str, Any] = {"commit_properties": commit, "storage_options": options}
        given |= {"partition_by": list(sink.partition_by) or None, "target_file_size": sink.compaction.target_bytes}
        if table is not None and sink.mode is WriteMode.UPSERT:
            keys = " AND ".join(f"t.{sql.name(key)} = s.{sql.name(key)}" for key in sink.keys)
            merge = table.merge(rows, keys, source_alias="s", target_alias="t", commit_properties=commit)
            merge.when_matched_update_all().when_not_matched_insert_all().execute()
        elif sink.mode is WriteMode.OVERWRITE and sink.scope is OverwriteScope.PARTITIONS and table is not None:
            if manifest.files:
                write_deltalake(self.base, rows, mode="overwrite", predicate=_partitions(manifest), **given)
        elif sink.mode is WriteMode.OVERWRITE:
            given["schema_mode"] = "overwrite" if table is not None else None
            write_deltalake(self.base, rows, mode="overwrite", **given)
        else:
            given["schema_mode"] = "merge" if table is not None else None
            write_deltalake(self.base, rows, mode="append", **given)

    def _rows(self, sink: DataSink, manifest: CommitManifest) -> Any:
        """The rows that are aside, as a stream of Arrow."""
        import duckdb

        from events.language.pipelines.sources import DataSource

        types = {column.name: column for column in manifest.columns}
        aside = self.aside(manifest.attempt)
        files = tuple(
            ResolvedFile(
                f"{aside}/{file.path}",
                file.bytes,
                file.checksum,
                {name: None if value == NO_VALUE else value for name, value in file.partition.items()},
            )
            for file in manifest.files
        )
        source = DataSource.model_validate(
            {"type": self._type, "path": f"{aside}/", "format": {"type": FileFormat.PARQUET}}
        )
        partitions = tuple(types[name] for name in sink.partition_by)
        resolved = Resolved(
            source,
            self._context,
            (),
            files,
            partitions,
            manifest.columns,
            self._connection,
            self._type,
        )
        connection = duckdb.connect()
        attach(connection, "rows", resolved)
        return connection.sql("SELECT * FROM rows").to_arrow_reader(_ROWS)

    def discard(self, manifest: CommitManifest) -> None:
        self._beside.remove_folder(self._aside_name(manifest.attempt))


def _partitions(manifest: CommitManifest) -> str:
    """The partitions that the new rows lie in, as a condition."""
    places = []
    for partition in {tuple(sorted(file.partition.items())) for file in manifest.files}:
        parts = [
            f"{sql.name(name)} IS NULL" if value == NO_VALUE else f"{sql.name(name)} = {sql.text(value)}"
            for name, value in partition
        ]
        places.append(f"({' AND '.join(parts)})")
    return " OR ".join(places)
