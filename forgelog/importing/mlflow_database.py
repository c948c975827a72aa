"""MLflow's databases: SQLite's files, and Postgres. Only read, by one connection.

Databases of old versions lack columns and tables: rows are read by name, and what is missing is empty.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from blake3 import blake3

from forgelog.importing.folder import stamp
from forgelog.importing.mlflow import (
    KIND,
    NOTE,
    PARENT,
    Artifacts,
    Locations,
    LoggedModel,
    input_of,
    is_deleted,
    moment,
    status_of,
    text,
    version_of,
    without_prompts,
)
from forgelog.importing.source import (
    Content,
    Contents,
    Pieces,
    Series,
    SourceExperiment,
    SourceModel,
    SourceRun,
    SourceVersion,
    Told,
    Trouble,
    Unreadable,
)

Row = dict[str, Any]

_PAGE = 10_000
"""Points that are read at once."""
_INFINITE = 1.7976931348623157e308
"""MLflow writes it in place of infinity, which not every database has."""


class Database(Protocol):
    """A connection. `$1` and so on stand for arguments."""

    def rows(self, sql: str, *arguments: Any) -> list[Row]:
        """Raises `Unreadable`."""

    def tables(self) -> set[str]:
        """The names of its tables. Raises `Unreadable`."""

    def close(self) -> None: ...


class Sqlite:
    """A file of SQLite, opened to be read only."""

    def __init__(self, path: Path) -> None:
        """Raises `Unreadable`."""
        if not path.is_file():
            raise Unreadable(f"{path} is no file" if path.exists() else f"there is no {path}")
        try:
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise Unreadable(f"{path} can't be opened: {error}") from None
        self._connection.row_factory = sqlite3.Row
        self._connection.text_factory = lambda data: data.decode(errors="replace")

    def rows(self, sql: str, *arguments: Any) -> list[Row]:
        try:
            found = self._connection.execute(re.sub(r"\$(\d)", r"?\1", sql), arguments)
            return [dict(row) for row in found]
        except sqlite3.Error as error:
            raise Unreadable(f"can't be read: {error}") from None

    def tables(self) -> set[str]:
        return {row["name"] for row in self.rows("select name from sqlite_master where type = 'table'")}

    def close(self) -> None:
        self._connection.close()


class Postgres:
    """A database of Postgres, in a transaction that sees one moment."""

    def __init__(self, address: str) -> None:
        """Raises `Unreadable`."""
        self._loop = asyncio.new_event_loop()
        self._connection = self._do(self._open(address))

    async def _open(self, address: str) -> Any:
        import asyncpg

        connection = await asyncpg.connect(address, server_settings={"default_transaction_read_only": "on"})
        await connection.execute("begin isolation level repeatable read read only")
        return connection

    def rows(self, sql: str, *arguments: Any) -> list[Row]:
        return [dict(row) for row in self._do(self._connection.fetch(sql, *arguments))]

    def tables(self) -> set[str]:
        found = self.rows(
            "select table_name from information_schema.tables where table_schema = any(current_schemas(false))"
        )
        return {row["table_name"] for row in found}

    def close(self) -> None:
        self._do(self._connection.close())
        self._loop.close()

    def _do(self, work: Any) -> Any:
        import asyncpg

        try:
            return self._loop.run_until_complete(work)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            raise Unreadable(f"the database can't be read: {error or type(error).__name__}") from None


def open_database(address: str) -> Database:
    """Of an address as MLflow has it: ``sqlite:///mlflow.db``, ``postgresql://host/mlflow``. Raises `Unreadable`."""
    scheme, _, rest = address.partition("://")
    kind = scheme.split("+")[0]
    if kind == "sqlite":
        return Sqlite(Path(rest.removeprefix("/").split("?")[0]))
    if kind in ("postgresql", "postgres"):
        if urlsplit(address).password:
            raise Unreadable(
                "has a password, which other users of this machine can see; leave it out, and give it by PGPASSWORD or "
                "in ~/.pgpass"
            )
        return Postgres(f"postgresql://{rest}")
    raise Unreadable(f"begins with {scheme}://; folders, sqlite:/// and postgresql:// can be read")


class MlflowDatabase:
    """A `Source`."""

    kind = KIND

    def __init__(self, database: Database, artifacts: Iterable[Path] = ()) -> None:
        """`artifacts`: folders that have files of runs and models."""
        self._database = database
        self._artifacts = Artifacts(Locations(artifacts))
        self._tables: set[str] = set()

    def contents(self) -> Contents:
        self._tables = self._database.tables()
        if absent := sorted({"experiments", "runs", "params", "metrics", "tags"} - self._tables):
            raise Unreadable(f"is no database of MLflow: it has no table {absent[0]}")
        troubles: list[Trouble] = []
        tags = self._tags("experiment_tags", "experiment_id")
        experiments: list[SourceExperiment] = []
        for row in self._all("experiments", "experiment_id"):
            key, own = str(row["experiment_id"]), tags.get((row["experiment_id"],), {})
            note = own.pop(NOTE, "")
            experiments.append(SourceExperiment(key, _with_workspace(row), note, own, deleted=is_deleted(row)))
        runs = list(self._runs({each.key for each in experiments if each.deleted}, troubles))
        for row in self._all("logged_models", "creation_timestamp_ms"):
            if not is_deleted(row):
                run, location = text(row, "source_run_id"), text(row, "artifact_location")
                self._artifacts.add_model(LoggedModel(row["model_id"], row["name"], run, location))
        models, notes = without_prompts(self._models(troubles))
        lacking = self._artifacts.lacking(run.key for run in runs)
        return Contents(experiments, runs, models, troubles, [*notes, *lacking])

    def _runs(self, deleted: set[str], troubles: list[Trouble]) -> Iterator[SourceRun]:
        parents = {
            row["run_uuid"]: row["value"]
            for row in self._database.rows('select run_uuid, value from tags where "key" = $1', PARENT)
        }
        for row in self._all("runs", "start_time"):
            key, experiment = row["run_uuid"], str(row["experiment_id"])
            try:
                run = SourceRun(
                    key=key,
                    experiment=experiment,
                    name=text(row, "name"),
                    status=status_of(row),
                    started_at=moment(row["start_time"]),
                    ended_at=moment(row["end_time"]),
                    deleted=is_deleted(row) or experiment in deleted,
                    parent=parents.get(key) or "",
                )
            except Unreadable as error:
                troubles.append(Trouble(f"run {key}", str(error)))
                continue
            self._artifacts.add_run(key, text(row, "artifact_uri"))
            yield run

    def fingerprint(self, run: SourceRun) -> str:
        params, tags = self._pairs("params", run.key), self._pairs("tags", run.key)
        (tally,) = self._database.rows(
            'select count(*) as points, max("timestamp") as time, max("step") as step from metrics where run_uuid = $1',
            run.key,
        )
        files = stamp(self._artifacts.of_run(run, None, []))
        logged = (
            f"{run!r}{sorted(params.items())}{sorted(tags.items())}{sorted(tally.items())}{self._inputs(run)}{files}"
        )
        return blake3(logged.encode()).hexdigest(16)

    def content(self, run: SourceRun) -> Content:
        troubles: list[Trouble] = []
        params, tags = self._pairs("params", run.key), self._pairs("tags", run.key)
        inputs = []
        for row in self._inputs(run):
            found = self._database.rows("select name, value from input_tags where input_uuid = $1", row["input_uuid"])
            try:
                inputs.append(input_of(row, {each["name"]: each["value"] for each in found}))
            except Unreadable as error:
                troubles.append(Trouble(f"{run.where}, input {row['name']!r}", str(error)))
        return Content(params, tags, self._artifacts.of_run(run, None, troubles), troubles, inputs)

    def _inputs(self, run: SourceRun) -> list[Row]:
        """The datasets that a run reads; databases of old versions have none."""
        if not {"datasets", "inputs", "input_tags"} <= self._tables:
            return []
        return self._database.rows(
            "select i.input_uuid, d.name, d.digest, d.dataset_source_type as source_type, d.dataset_source as source, "
            "d.dataset_schema as schema, d.dataset_profile as profile from inputs i "
            "join datasets d on d.dataset_uuid = i.source_id where i.destination_id = $1 "
            "and i.source_type = 'DATASET' and i.destination_type = 'RUN' order by i.input_uuid",
            run.key,
        )

    def points(self, run: SourceRun, troubles: list[Trouble]) -> Iterator[Series]:
        keys = self._database.rows('select distinct "key" from metrics where run_uuid = $1 order by 1', run.key)
        for row in keys:
            told = Told(f"{run.where}, metric {row['key']!r}", troubles)
            pieces = Pieces(row["key"])
            for point in self._points(run.key, row["key"]):
                try:
                    full = pieces.add(int(point["step"]), int(point["timestamp"]), _value(point))
                except (TypeError, ValueError):
                    told.add(f"has a point that is none: {[*point.values()]!r}")
                    continue
                if full is not None:
                    yield full
            told.end()
            if (rest := pieces.rest()) is not None:
                yield rest

    def _points(self, run: str, key: str) -> Iterator[Row]:
        """Page by page, each behind the last point of the one before."""
        columns = '"timestamp", "step", "value", "is_nan"'
        query = f'select {columns} from metrics where run_uuid = $1 and "key" = $2'
        order = f"order by {columns} limit {_PAGE}"
        found = self._database.rows(f"{query} {order}", run, key)
        while found:
            yield from found
            if len(found) < _PAGE:
                return
            last = found[-1].values()
            found = self._database.rows(f"{query} and ({columns}) > ($3, $4, $5, $6) {order}", run, key, *last)

    def _models(self, troubles: list[Trouble]) -> Iterator[SourceModel]:
        tags = self._tags("registered_model_tags", "workspace", "name")
        version_tags = self._tags("model_version_tags", "workspace", "name", "version")
        versions: dict[tuple[Any, ...], list[SourceVersion]] = {}
        for row in self._all("model_versions", "version"):
            name = (row.get("workspace"), row["name"])
            try:
                found = version_of(row, version_tags.get((*name, row["version"]), {}), self._artifacts)
            except Unreadable as error:
                troubles.append(Trouble(f"model {row['name']!r}, version {row['version']}", str(error)))
                continue
            if found is not None:
                versions.setdefault(name, []).append(found)
        aliases: dict[tuple[Any, ...], dict[str, int]] = {}
        for row in self._all("registered_model_aliases", "alias"):
            aliases.setdefault((row.get("workspace"), row["name"]), {})[row["alias"]] = row["version"]
        for row in self._all("registered_models", "name"):
            name = (row.get("workspace"), row["name"])
            yield SourceModel(
                _with_workspace(row, "-"),
                text(row, "description"),
                tags.get(name, {}),
                aliases.get(name, {}),
                versions.get(name, ()),
            )

    def _pairs(self, table: str, run: str) -> dict[str, str]:
        found = self._database.rows(f'select "key", value from {table} where run_uuid = $1', run)
        return {row["key"]: row["value"] or "" for row in found}

    def _tags(self, table: str, *key: str) -> dict[tuple[Any, ...], dict[str, str]]:
        """Tags by what they are of."""
        found: dict[tuple[Any, ...], dict[str, str]] = {}
        for row in self._all(table, "key"):
            found.setdefault(tuple(row.get(name) for name in key), {})[row["key"]] = row["value"] or ""
        return found

    def _all(self, table: str, order: str) -> Sequence[Row]:
        """All rows of a table; none if there is no such table."""
        return self._database.rows(f'select * from {table} order by "{order}"') if table in self._tables else []

    def notes(self) -> list[str]:
        """All that is left out is known beforehand."""
        return []

    def close(self) -> None:
        self._database.close()


def _value(point: Row) -> float:
    if point["is_nan"]:
        return float("nan")
    value = float(point["value"])
    return value if abs(value) < _INFINITE else float("inf") if value > 0 else float("-inf")


def _with_workspace(row: Row, between: str = "/") -> str:
    """A name is unique in its workspace only."""
    workspace = row.get("workspace") or "default"
    return str(row["name"]) if workspace == "default" else f"{workspace}{between}{row['name']}"
