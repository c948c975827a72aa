"""What a stage's DuckDB can read, and how much it may take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from forgelog.pipelines import engine


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("declared.csv", "secret.csv", "folder/part.csv", "folder2/part.csv"):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x\n1\n")
    return tmp_path


@pytest.fixture
def connection(place: Path) -> Any:
    made = engine.open_connection(256 << 20, 1, place / "scratch", [f"{place}/data/declared.csv"])
    engine.allow(made, [f"{place}/data/folder/"])
    engine.lock(made)
    return made


@pytest.mark.parametrize("path", ["data/declared.csv", "data/folder/part.csv"])
def test_what_is_declared_can_be_read(connection: Any, place: Path, path: str) -> None:
    assert connection.execute(f"FROM read_csv('{place}/{path}')").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_csv('{place}/data/secret.csv')",
        "FROM '{place}/data/secret.csv'",
        "FROM read_csv('{place}/data/folder/../secret.csv')",
        "FROM read_csv('{place}/data/folder2/part.csv')",
        "FROM glob('{place}/data/*')",
        "FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '{place}/data/new.csv'",
        "ATTACH '{place}/data/new.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET allowed_directories = ['/']",
        "SET enable_external_access = true",
        "SET memory_limit = '1TB'",
        "RESET lock_configuration",
    ],
)
def test_nothing_else_can_be_read_written_or_set(connection: Any, place: Path, statement: str) -> None:
    with pytest.raises(duckdb.Error):
        connection.execute(statement.format(place=place))
    assert not (place / "data" / "new.csv").exists()
    assert not (place / "data" / "new.db").exists()


def test_variables_of_python_are_no_tables(connection: Any) -> None:
    rows = [1]
    with pytest.raises(duckdb.CatalogException):
        connection.execute("FROM rows")
    assert rows


def test_more_rows_than_memory_holds_spill_to_scratch(place: Path) -> None:
    connection = engine.open_connection(160 << 20, 1, place / "scratch")
    engine.lock(connection)
    connection.execute("CREATE TABLE t AS SELECT hash(n) AS h, hash(-n) AS g FROM range(12_000_000) AS r(n)")
    assert engine.spilled_bytes(connection) > 0
    assert connection.execute("SELECT count(h), count(g) FROM t").fetchall() == [(12_000_000, 12_000_000)]


def test_time_zones_are_utc_wherever_it_runs(connection: Any) -> None:
    assert connection.execute("SELECT current_setting('TimeZone')").fetchall() == [("UTC",)]


def test_rows_are_estimated_without_reading_them(connection: Any) -> None:
    connection.execute("CREATE TABLE t AS FROM range(1000)")
    assert engine.estimate(connection, "FROM t") == 1000
    assert "Seq Scan" in engine.explain(connection, "FROM t")
    assert engine.describe(connection, "t")[0].type == "BIGINT"
