"""Tables of databases as sinks.

Rows are staged in a table of the attempt's own. A publication is one transaction: it writes the version's row into
``forgelog_commits``, which has each version of a table once, and brings the staged rows into the table. A second
publication finds the row. Readers see all of the version or nothing, as the database isolates them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from events.language.pipelines.columns import Column
from events.language.pipelines.manifests import CommitFile, CommitManifest
from events.language.pipelines.sinks import DataSink, WriteMode
from forgelog.pipelines.io import sql
from forgelog.pipelines.io.context import IoContext, Published
from forgelog.pipelines.io.database_dialects import Session, session_of
from forgelog.pipelines.io.database_drivers import explained, table_name
from forgelog.pipelines.io.database_urls import database_url
from forgelog.pipelines.io.late import earlier, other_attempt, superseded
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError


class DatabasePlace:
    """See the module, and `forgelog.pipelines.io.places.Place`."""

    def __init__(self, sink: DataSink, base: str, context: IoContext) -> None:
        self.base = base
        url, _, self._table = base.rpartition("#")
        self._found = database_url(sink.connection.model_copy(update={"url": url}), context)
        self._schema = self._table.rpartition(".")[0]

    def aside(self, attempt: str) -> str:
        name = f"forgelog_aside_{blake3(f'{self._table} {attempt}'.encode()).hexdigest()[:16]}"
        return f"{self._schema}.{name}" if self._schema else name

    @property
    def _commits(self) -> str:
        return table_name(f"{self._schema}.forgelog_commits" if self._schema else "forgelog_commits")

    def check(self, sink: DataSink) -> None:
        with self._session() as session:
            self._check(session, sink)
            if sink.metadata and self._found.kind == "sqlite":
                session.describe(self._table, sink.metadata)

    def _check(self, session: Session, sink: DataSink) -> None:
        if sink.mode is not WriteMode.ERROR or not session.columns(self._table):
            return
        if session.run(f"SELECT 1 FROM {table_name(self._table)} LIMIT 1"):
            problem = f"is error, and the table {self._table} has rows already"
            raise StageError("mode", problem, "choose another mode, or another table")

    def put_aside(
        self, sink: DataSink, attempt: str, local: Path, files: Sequence[CommitFile], columns: Sequence[Column]
    ) -> None:
        staged = self.aside(attempt)
        try:
            with self._session() as session:
                session.run(f"DROP TABLE IF EXISTS {table_name(staged)}")
                session.load(staged, columns, [local / file.path for file in files])
                session.commit()
        except BaseException:
            with suppress(StageError):  # what has gone wrong is said; another attempt clears away what stays
                self._clear(staged)
            raise

    def publish(self, sink: DataSink, manifest: CommitManifest, version: int) -> Published:
        with self._session() as session:
            session.lock(f"forgelog {self._table}")
            session.run(
                f"CREATE TABLE IF NOT EXISTS {self._commits} "
                "(sink VARCHAR(500), version BIGINT, attempt VARCHAR(500), row_count BIGINT, "
                "PRIMARY KEY (sink, version))"
            )
            if (found := self._published(session, manifest, version)) is not None:
                self._clear_staged(session, manifest)
                session.commit()
                return found
            self._merge(session, sink, manifest)
            values = f"{sql.text(self._table)}, {version}, {sql.text(manifest.attempt)}, {manifest.rows}"
            session.run(f"INSERT INTO {self._commits} VALUES ({values})")
            # behind the row of the version: in MySQL, whatever changes a table commits what came before
            if sink.metadata:
                session.describe(self._table, sink.metadata)
            self._clear_staged(session, manifest)
            session.commit()
        return Published(version, self.base, manifest.rows, manifest.bytes)

    def _published(self, session: Session, manifest: CommitManifest, version: int) -> Published | None:
        rows = session.run(
            f"SELECT version, attempt FROM {self._commits} WHERE sink = {sql.text(self._table)} "
            f"AND version >= {version} ORDER BY version DESC"
        )
        if not rows:
            return None
        newest, attempt = rows[0]
        if newest > version:
            raise superseded(version, newest, self.base)
        if attempt != manifest.attempt:
            raise other_attempt(version, attempt, self.base)
        return Published(version, self.base, manifest.rows, manifest.bytes, already=True)

    def _merge(self, session: Session, sink: DataSink, manifest: CommitManifest) -> None:
        staged = self.aside(manifest.attempt)
        if not session.columns(staged):
            problem = f"the rows that the attempt {shown(manifest.attempt)} staged are gone"
            raise StageError("table", problem, f"run the stage again; {staged} was removed from outside")
        have = session.columns(self._table)
        if not have:
            types = ", ".join(f"{sql.name(column.name)} {session.type_of(column)}" for column in manifest.columns)
            session.run(f"CREATE TABLE {table_name(self._table)} ({types})")
            have = session.columns(self._table)
        names = [column.name for column in manifest.columns]
        if missing := [name for name in names if name not in have]:
            problem = f"the table {self._table} has no column {shown(missing[0])}; it has: {', '.join(list(have)[:50])}"
            raise StageError("table", problem, "add it to the table, or leave it out of the rows")
        self._check(session, sink)
        target, source = table_name(self._table), table_name(staged)

        def value(name: str) -> str:
            return (
                f"CAST({sql.name(name)} AS {have[name]})"
                if self._found.kind not in ("sqlite", "mysql")
                else sql.name(name)
            )

        if sink.mode is WriteMode.OVERWRITE:
            # readers go on with the rows that they see, which TRUNCATE would not let them
            session.run(f"DELETE FROM {target}")
        elif sink.mode is WriteMode.UPSERT:
            keys = ", ".join(value(key) for key in sink.keys)
            session.run(f"DELETE FROM {target} WHERE ({sql.names(sink.keys)}) IN (SELECT {keys} FROM {source})")
        chosen = ", ".join(value(name) for name in names)
        session.run(f"INSERT INTO {target} ({sql.names(names)}) SELECT {chosen} FROM {source}")

    def _clear_staged(self, session: Session, manifest: CommitManifest) -> None:
        """What was staged for a version that is published: by its attempt, and by those before it."""
        for each in (manifest.attempt, *earlier(manifest.attempt)):
            session.run(f"DROP TABLE IF EXISTS {table_name(self.aside(each))}")

    def discard(self, manifest: CommitManifest) -> None:
        self._clear(self.aside(manifest.attempt))

    def _clear(self, staged: str) -> None:
        with self._session() as session:
            session.run(f"DROP TABLE IF EXISTS {table_name(staged)}")
            session.commit()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A transaction, which ends without effect unless it is committed."""
        with explained("table"):
            session = session_of(self._found)
            try:
                yield session
            finally:
                session.close()
