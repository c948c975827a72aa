"""Tables of MySQL and MariaDB, on a real server: read with their types, and written once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.language.pipelines.connections import Connection
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import DataSource
from forgelog.pipelines.io import publish, write_aside
from forgelog.pipelines.io.database_urls import database_url
from forgelog.pipelines.io.mysql import MysqlSession, _security, connect_mysql
from forgelog.pipelines.problems import StageError
from tests import mariadb
from tests.unit.pipelines.tables import Table, context_of, rows
from tests.unit.pipelines.test_io_places import FIRST, MODES, NEXT

SECRETS = {"shop": json.dumps({"password": mariadb.PASSWORD})}


class Rows(Table):
    """A place that is read as it is written."""

    def stage(self, attempt: str, query: str, **given: Any) -> tuple[DataSink, CommitManifest]:
        sink = self.sink(**given)
        return sink, write_aside(duckdb.connect(), query, sink, attempt, self.contexts)

    def read(self, **more: Any) -> list[tuple[Any, ...]]:
        source = DataSource.model_validate(self.place | more)
        return rows(source, context_of(self.folder, secrets=SECRETS.__getitem__))[1]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with mariadb.server(tmp_path_factory.mktemp("mariadb")) as found:
            yield found
    except mariadb.Unavailable as error:
        pytest.skip(f"there is no MySQL to test with: {error}")


def connection(url: str) -> dict[str, Any]:
    return {"url": url, "secret": {"name": "shop"}}


@pytest.fixture
def place(url: str, tmp_path: Path) -> Iterator[Rows]:
    given = {"type": "database", "connection": connection(url), "table": "t"}
    yield Rows(given, tmp_path, context_of(tmp_path, secrets=SECRETS.__getitem__))
    ask(url, tmp_path, "DROP TABLE IF EXISTS t", "DROP TABLE IF EXISTS forgelog_commits", "DROP TABLE IF EXISTS kinds")


def ask(url: str, folder: Path, *statements: str) -> list[tuple[Any, ...]]:
    """What the server answers to the last of these."""
    context = context_of(folder, secrets=SECRETS.__getitem__)
    found = database_url(Connection.model_validate(connection(url)), context)
    with closing(connect_mysql(found)) as open, open.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        answer = list(cursor.fetchall()) if cursor.description else []
        open.commit()
    return answer


@pytest.mark.parametrize(("mode", "after"), MODES, ids=["overwrite", "append", "upsert"])
def test_each_mode(place: Rows, mode: dict[str, Any], after: list[tuple[int, str]]) -> None:
    place.publish(1, FIRST)
    place.publish(2, NEXT, **mode)
    assert place.read() == after


@pytest.mark.parametrize("metadata", [{}, {"owner": "me"}], ids=["plain", "described"])
def test_broken_off_before_any_statement_it_is_published_once_by_the_next(
    place: Rows, url: str, metadata: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place.publish(1, FIRST)
    place.stage("clean.1", NEXT)  # an attempt whose worker was lost
    sink, manifest = place.stage("clean.2", NEXT, mode="append", metadata=metadata)
    real, left, failed = MysqlSession.run, 0, 0

    def run(self: MysqlSession, statement: str) -> Any:
        nonlocal left
        if left == 0:
            self._connection._force_close()  # as a process that is killed
            raise ConnectionResetError("killed")
        left -= 1
        return real(self, statement)

    before, after = [(1, "a"), (2, "b")], [(1, "a"), (2, "B"), (2, "b"), (3, "C")]
    monkeypatch.setattr(MysqlSession, "run", run)
    for at in range(100):
        left = at
        try:
            publish(sink, manifest, 2, place.contexts)
        except ConnectionResetError:
            failed += 1
        else:
            break
        left = -1
        assert place.read() in (before, after), "a reader saw a part of a version"
    left = -1
    assert failed >= 5
    assert place.read() == after
    assert publish(sink, manifest, 2, place.contexts).already
    assert place.read() == after
    tables = [name for (name,) in ask(url, tmp_path, "SHOW TABLES")]
    assert sorted(tables) == ["forgelog_commits", "t"], "what was staged is gone"
    comment = ask(url, tmp_path, "SELECT table_comment FROM information_schema.tables WHERE table_name = 't'")
    assert comment == [(json.dumps(metadata) if metadata else "",)]


def test_rows_that_can_t_be_staged_leave_no_table(
    place: Rows, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In MySQL a table is there once it is made, whatever comes of the transaction."""
    load = MysqlSession.load

    def failing(self: MysqlSession, table: str, *given: Any) -> None:
        load(self, table, *given)
        raise ConnectionResetError("the server is full")

    monkeypatch.setattr(MysqlSession, "load", failing)
    with pytest.raises((StageError, ConnectionResetError), match="the server is full"):
        place.stage("clean.1", FIRST)
    assert ask(url, tmp_path, "SHOW TABLES") == []


def test_a_late_publication_says_so_and_changes_nothing(place: Rows) -> None:
    sink, manifest = place.write(FIRST)
    publish(sink, manifest, 1, place.contexts)
    place.publish(2, NEXT)
    with pytest.raises(StageError, match=r"version 2 is published at .*, and this is version 1: nothing was changed"):
        publish(sink, manifest, 1, place.contexts)
    assert place.read() == [(2, "B"), (3, "C")]


def test_the_mode_error_and_a_missing_column_say_so(place: Rows) -> None:
    place.publish(1, FIRST, mode="error")
    with pytest.raises(StageError, match=r"mode: is error, and the table .* has rows already"):
        place.write(NEXT, mode="error")
    sink, manifest = place.write("SELECT 1 AS id, 2 AS price", mode="append")
    with pytest.raises(StageError, match="table: the table t has no column 'price'; it has: id, v"):
        publish(sink, manifest, 2, place.contexts)


def test_what_is_written_is_read_again(place: Rows) -> None:
    columns = (
        "1.50::DECIMAL(10,2) AS m, DATE '2026-05-09' AS d, NULL::INTEGER AS n, 'it''s \\ \"é\" % 🙂' AS v, "
        "'\\x00\\xFF'::BLOB AS b, TIMESTAMP '2026-05-09 12:00:00.123456' AS t, TIME '23:59:59.5' AS h, "
        "18446744073709551615::UBIGINT AS u, 0.1::DOUBLE AS f, TIMESTAMPTZ '2026-05-09 12:00:00+02' AS z"
    )
    place.publish(1, f"SELECT {columns}")
    (row,) = place.read()
    assert row == (
        Decimal("1.50"),
        date(2026, 5, 9),
        None,
        'it\'s \\ "é" % 🙂',
        b"\x00\xff",
        datetime(2026, 5, 9, 12, 0, 0, 123456),
        time(23, 59, 59, 500_000),
        18446744073709551615,
        0.1,
        datetime(2026, 5, 9, 10),
    )


def test_types_of_the_server_keep_their_values(place: Rows, url: str, tmp_path: Path) -> None:
    ask(
        url,
        tmp_path,
        "CREATE TABLE kinds (a TINYINT UNSIGNED, b MEDIUMINT, c DECIMAL(20,5), d DECIMAL(9,0) UNSIGNED, e BIT(12), "
        "f ENUM('x','y'), g TIMESTAMP NULL, h YEAR, i VARBINARY(4), j DECIMAL(60,30), k BIGINT)",
        "INSERT INTO kinds VALUES (255, -8388608, -123456789012345.12345, 999999999, b'101000000001', 'y', "
        "'2026-05-09 12:00:00', 2026, x'00ff', '1.5', NULL)",
    )
    (row,) = place.read(table="kinds")
    assert row[:6] == (255, -8388608, Decimal("-123456789012345.12345"), Decimal(999999999), 0b101000000001, "y")
    assert row[6].astimezone(UTC) == datetime(2026, 5, 9, 12, tzinfo=UTC)
    assert row[7:] == (2026, b"\x00\xff", f"1.5{'0' * 29}", None)


def test_a_query_has_the_run_s_values_and_its_errors_are_told(place: Rows, tmp_path: Path) -> None:
    place.publish(1, "SELECT * FROM (VALUES (1, 'a\\'), (2, 'it''s')) t(id, v)")
    source = DataSource.model_validate(
        {"type": "database", "connection": place.place["connection"], "query": 'SELECT "id" FROM t WHERE v = $v'}
    )
    for value, wanted in (("a\\", [(1,)]), ("it's", [(2,)]), ("' OR 1=1 -- ", [])):
        context = context_of(tmp_path, secrets=SECRETS.__getitem__, parameters={"v": value})
        assert rows(source, context)[1] == wanted
    with pytest.raises(StageError, match=r"table: the database says: Table .* doesn't exist"):
        place.read(table="nothing")
    wrong = context_of(tmp_path, secrets={"shop": json.dumps({"password": "wr0ng"})}.__getitem__, parameters={"v": 1})
    with pytest.raises(
        StageError, match=r"connection\.url: the database says: Access denied for user 'clerk'"
    ) as error:
        rows(source, wrong)
    assert "wr0ng" not in str(error.value)


def test_a_server_elsewhere_is_asked_who_it_is_unless_that_is_said() -> None:
    assert _security("", "", "127.0.0.1") is None
    elsewhere = _security("", "", "db.example.org")
    assert elsewhere is not None
    assert elsewhere.check_hostname
    assert _security("disabled", "", "db.example.org") is None
    required = _security("required", "", "db.example.org")
    assert required is not None
    assert not required.check_hostname
    with pytest.raises(StageError, match="ssl_mode: is 'maybe'; disabled, required or verify_identity"):
        _security("maybe", "", "db.example.org")
