"""Databases that are files, tables of Delta Lake and web servers: read, and written once."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest

from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import DataSource
from forgelog.pipelines.io import publish, resolve, write_aside
from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.dying import SURVIVED, delta_steps, duckdb_steps, ended, sqlite_steps, start
from tests.unit.pipelines.tables import SECRETS, Table, context_of, rows

FIRST = "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) t(id, v)"
NEXT = "SELECT * FROM (VALUES (2, 'B'), (3, 'C')) t(id, v)"
MODES: list[tuple[dict[str, Any], list[tuple[int, str]]]] = [
    ({"mode": "overwrite"}, [(2, "B"), (3, "C")]),
    ({"mode": "append"}, [(1, "a"), (2, "B"), (2, "b"), (3, "C")]),
    ({"mode": "upsert", "keys": ["id"]}, [(1, "a"), (2, "B"), (3, "C")]),
]


class Rows(Table):
    """A place that is read as it is written."""

    def read(self) -> list[tuple[Any, ...]]:
        return rows(DataSource.model_validate(self.place), context_of(self.folder))[1]


@pytest.fixture(params=["sqlite", "duckdb", "delta"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, folder: Path) -> Rows:
    if kind == "delta":
        given: dict[str, Any] = {"type": "file_system", "path": f"{folder}/t", "format": {"type": "delta"}}
        return Rows(given, folder)
    return Rows({"type": "database", "connection": {"url": f"{kind}:///{folder}/shop.db"}, "table": "t"}, folder)


@pytest.fixture
def steps(kind: str) -> Callable[[], list[tuple[Any, str]]]:
    return {"sqlite": sqlite_steps, "duckdb": duckdb_steps, "delta": delta_steps}[kind]


@pytest.mark.parametrize(("mode", "after"), MODES, ids=["overwrite", "append", "upsert"])
def test_each_mode(place: Rows, mode: dict[str, Any], after: list[tuple[int, str]]) -> None:
    place.publish(1, FIRST)
    place.publish(2, NEXT, **mode)
    assert place.read() == after


@pytest.mark.parametrize(("mode", "after"), MODES[2:], ids=["upsert"])
def test_killed_before_any_step_it_is_published_once_by_the_next(
    place: Rows, steps: Callable[[], list[tuple[Any, str]]], mode: dict[str, Any], after: list[tuple[int, str]]
) -> None:
    place.publish(1, FIRST)
    sink, manifest = place.write(NEXT, **mode)
    kills = 0
    for at in range(100):
        child = start(sink, manifest, 2, place.contexts, SECRETS, steps, at, signal.SIGKILL)
        if ended(child) == SURVIVED:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        assert place.read() in ([(1, "a"), (2, "b")], after), "a reader saw a part of a version"
    assert kills >= 2
    assert place.read() == after
    assert publish(sink, manifest, 2, place.contexts).already
    assert place.read() == after


def test_a_late_publication_says_so_and_changes_nothing(place: Rows) -> None:
    sink, manifest = place.write(FIRST)
    publish(sink, manifest, 1, place.contexts)
    place.publish(2, NEXT)
    with pytest.raises(StageError, match=r"version 2 is published at .*, and this is version 1: nothing was changed"):
        publish(sink, manifest, 1, place.contexts)
    assert place.read() == [(2, "B"), (3, "C")]


def test_the_mode_error_takes_an_empty_place_only(place: Rows) -> None:
    place.publish(1, FIRST, mode="error")
    with pytest.raises(StageError, match=r"mode: is error, and the table .* has rows already"):
        place.write(NEXT, mode="error")


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"], indirect=True)
def test_values_keep_their_types(place: Rows, kind: str) -> None:
    columns = "1.50::DECIMAL(10,2) AS m, DATE '2026-05-09' AS d, true AS b, NULL::INTEGER AS n, [1, 2] AS l"
    place.publish(1, f"SELECT {columns}")
    nested = [1, 2] if kind == "duckdb" else "[1,2]"
    assert place.read() == [(Decimal("1.50"), date(2026, 5, 9), True, None, nested)]


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"], indirect=True)
def test_a_table_without_a_column_says_so(place: Rows) -> None:
    place.publish(1, FIRST)
    sink, manifest = place.write("SELECT 1 AS id, 2 AS price", mode="append")
    with pytest.raises(StageError, match="table: the table t has no column 'price'; it has: id, v"):
        publish(sink, manifest, 2, place.contexts)
    assert place.read() == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"], indirect=True)
def test_queries_take_values_of_the_run_as_values(place: Rows) -> None:
    place.publish(1, "SELECT * FROM (VALUES (1, 'a'), (2, 'it''s'), (3, '$v')) t(id, v)")
    query = "SELECT id FROM t WHERE v = $wanted OR v = '$v' -- $nothing"
    source = DataSource.model_validate(place.place | {"table": "", "query": query})
    assert rows(source, context_of(place.folder, parameters={"wanted": "it's"}))[1] == [(2,), (3,)]
    assert rows(source, context_of(place.folder, parameters={"wanted": "x' OR 1 = 1 --"}))[1] == [(3,)]
    with pytest.raises(StageError, match=r"query: asks for \$wanted, and the run's parameters are: none"):
        rows(source, context_of(place.folder))
    times = place.place | {"table": "", "query": "SELECT $interval_start AS a, $interval_end > $interval_start AS b"}
    begin, end = datetime(2026, 5, 9, tzinfo=UTC), datetime(2026, 5, 10, tzinfo=UTC)
    found = rows(DataSource.model_validate(times), context_of(place.folder, interval_start=begin, interval_end=end))[1]
    assert str(found[0][0]).startswith("2026-05-09 00:00:00")
    assert found[0][1] in (True, 1)


def test_what_sqlite_has_against_its_declared_types_is_named(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE TABLE t (n INTEGER)")
        database.execute("INSERT INTO t VALUES (1), ('many')")
        database.commit()
    given = {"type": "database", "connection": {"url": f"sqlite:///{tmp_path}/a.db"}, "table": "t"}
    with pytest.raises(StageError, match="columns: the column 'n' has 'many', which is not of its declared type"):
        rows(DataSource.model_validate(given), context_of(tmp_path))
    with pytest.raises(StageError, match="table: the database says: no such table: nothing"):
        rows(DataSource.model_validate(given | {"table": "nothing"}), context_of(tmp_path))
    with pytest.raises(StageError, match="this node has no driver for 'oracle'; pip install adbc-driver-oracle"):
        rows(DataSource.model_validate(given | {"connection": {"url": "oracle://host/db"}}), context_of(tmp_path))


def test_partitions_of_delta(tmp_path: Path) -> None:
    table = Rows({"type": "file_system", "path": f"{tmp_path}/t", "format": {"type": "delta"}}, tmp_path)
    table.publish(1, "SELECT 1 AS id, 'a/b c=é' AS p UNION ALL SELECT 2, NULL", partition_by=["p"])
    table.publish(2, "SELECT 3 AS id, NULL::VARCHAR AS p", partition_by=["p"], scope="partitions")
    assert table.read() == [(1, "a/b c=é"), (3, None)]
    with pytest.raises(StageError, match="partition_by: is not that of the table, which is divided by p"):
        table.write("SELECT 1 AS id, 'x' AS p", mode="append")


def test_a_folder_that_is_no_table_of_delta(tmp_path: Path) -> None:
    given = {"type": "file_system", "path": f"{tmp_path}/t", "format": {"type": "delta"}}
    with pytest.raises(StageError, match="path: there is no table of Delta Lake at"):
        resolve(DataSource.model_validate(given), context_of(tmp_path))


class Handler(BaseHTTPRequestHandler):
    """A server that takes each part once, by its key, and has one file."""

    taken: ClassVar[dict[str, list[Any]]] = {}
    requests: ClassVar[list[str]] = []
    failing: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(self.headers["Authorization"])
        if self.failing:
            self.send_response(self.failing.pop())
        else:
            self.taken.setdefault(self.headers["Idempotency-Key"], body)
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    elsewhere: ClassVar[str] = ""
    """Where ``/moved/…`` redirects to."""

    def _answer(self) -> bytes:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.elsewhere + self.path.removeprefix("/moved"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        found = self.path == "/cities.csv"
        body = b"city,n\nBern,1\n" if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"v1"')
        self.end_headers()
        return body

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    Handler.taken.clear()
    Handler.requests.clear()
    Handler.failing.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()


def test_files_of_the_web(web: str, tmp_path: Path) -> None:
    source = DataSource.model_validate({"type": "http", "path": "cities.csv", "connection": {"url": web}})
    assert rows(source, context_of(tmp_path))[1] == [("Bern", 1)]
    assert resolve(source, context_of(tmp_path)).identity == ("files", f'{web}/cities.csv 14 "v1"')
    with pytest.raises(StageError, match=r"path: http://.*/towns.csv answered 404 Not Found; check the path"):
        resolve(DataSource.model_validate({"type": "http", "path": f"{web}/towns.csv"}), context_of(tmp_path))
    with pytest.raises(StageError, match="a web server can't be listed"):
        resolve(DataSource.model_validate({"type": "http", "path": f"{web}/*.csv"}), context_of(tmp_path))


def test_a_secret_goes_to_no_other_server(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(tmp_path, secrets={"web": '{"X-Api-Key": "s3cret"}'}.__getitem__)
    given = {"type": "http", "path": f"{web}/moved/cities.csv"}
    source = DataSource.model_validate({**given, "connection": {"secret": {"name": "web"}}})
    monkeypatch.setattr(Handler, "elsewhere", web)
    assert rows(source, context)[1] == [("Bern", 1)]
    monkeypatch.setattr(Handler, "elsewhere", web.replace("127.0.0.1", "localhost"))
    with pytest.raises(StageError, match=r"127.0.0.1 redirects to localhost, and what opens the one is not"):
        resolve(source, context)
    assert resolve(DataSource.model_validate(given), context_of(tmp_path)).identity


def test_rows_are_sent_with_a_key_that_stays(web: str, tmp_path: Path) -> None:
    context = context_of(tmp_path, secrets={"web": "t0ken"}.__getitem__)
    given = {"type": "http", "path": f"{web}/rows", "mode": "append", "connection": {"secret": {"name": "web"}}}
    sink = DataSink.model_validate(given)
    manifest = write_aside(duckdb.connect(), "SELECT range AS a FROM range(2500)", sink, "run.1", context)
    Handler.failing.append(503)
    with pytest.raises(StageError, match="answered 503") as failed:
        publish(sink, manifest, 1, context)
    assert failed.value.transient
    publish(sink, manifest, 1, context)
    assert publish(sink, manifest, 1, context).already
    assert sorted(len(part) for part in Handler.taken.values()) == [500, 1000, 1000]
    assert sorted(row["a"] for part in Handler.taken.values() for row in part) == list(range(2500))
    assert set(Handler.requests) == {"Bearer t0ken"}
