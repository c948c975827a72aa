"""How a sink's rows lie in files, as it says; and how a source is told to read them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.language.pipelines.sources import DataSource
from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.tables import Table, context_of, local_table, rows

DAYS = "SELECT i AS id, i % 3 AS day FROM range(9) t(i)"


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return local_table(tmp_path)


def described(table: Table, function: str, columns: str) -> list[tuple[Any, ...]]:
    """What the metadata of the table's files of Parquet say."""
    found = f"SELECT DISTINCT {columns} FROM {function}('{table.place['path']}/**/*.parquet')"
    return duckdb.connect().execute(found).fetchall()


def test_metadata_are_in_the_footers(table: Table) -> None:
    table.publish(1, DAYS, metadata={"team": "sales"})
    assert (b"team", b"sales") in described(table, "parquet_kv_metadata", "key, value")


def test_groups_of_rows_have_the_length_that_is_asked_for(table: Table) -> None:
    table.publish(1, "SELECT i FROM range(10000) t(i)", format={"type": "parquet", "row_group_rows": 2048})
    assert {count for (count,) in described(table, "parquet_metadata", "row_group_num_rows")} <= {2048, 10_000 % 2048}


def test_a_compression_is_taken(table: Table) -> None:
    table.publish(1, DAYS, format={"type": "parquet", "compression": "gzip"})
    assert described(table, "parquet_metadata", "compression") == [("GZIP",)]


def test_each_bucket_has_files_of_its_own(table: Table) -> None:
    _, manifest = table.write("SELECT i FROM range(100) t(i)", bucket_by={"count": 4, "columns": ["i"]})
    assert sorted(file.bucket for file in manifest.files) == [0, 1, 2, 3]
    assert sum(file.rows for file in manifest.files) == 100


def test_a_file_ends_about_where_it_is_asked_to(table: Table) -> None:
    wide = "SELECT md5(i::VARCHAR) AS a, md5((i + 1)::VARCHAR) AS b FROM range(200000) t(i)"
    groups = {"type": "parquet", "row_group_rows": 10_000}
    _, one = table.write(wide, format=groups)
    _, several = table.write(wide, format=groups, compaction={"target_bytes": 1 << 20})
    assert len(one.files) == 1
    assert len(several.files) > 4
    assert sum(file.rows for file in several.files) == 200_000


CSV = """\
written by hand
~ and not by a program
day|seen|price|note
03.01.2026|03.01.2026 04:05|1,5|'it''s'
NIL|NIL|NIL|NIL
"""


def test_a_csv_is_read_as_its_options_say(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    options = {
        "delimiter": "|",
        "quote": "'",
        "escape": "'",
        "null_text": "NIL",
        "skip_lines": 1,
        "comment": "~",
        "decimal": ",",
        "date_format": "%d.%m.%Y",
        "timestamp_format": "%d.%m.%Y %H:%M",
    }
    given = {"type": "file_system", "path": f"{tmp_path}/a.csv", "format": {"type": "csv", "csv": options}}
    columns, found = rows(DataSource.model_validate(given), context_of(tmp_path))
    assert [column.type for column in columns] == ["DATE", "TIMESTAMP", "DOUBLE", "VARCHAR"]
    assert found == [
        (None, None, None, None),
        (date(2026, 1, 3), datetime(2026, 1, 3, 4, 5), 1.5, "it's"),
    ]

    texts = DataSource.model_validate(given | {"infer": {"text_only": True}})
    assert {column.type for column in rows(texts, context_of(tmp_path))[0]} == {"VARCHAR"}


def test_types_are_found_from_as_many_rows_as_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n" + "1\n" * 30_000 + "one\n")
    given = {"type": "file_system", "path": f"{tmp_path}/a.csv", "infer": {"sample_rows": -1}}
    assert rows(DataSource.model_validate(given), context_of(tmp_path))[0][0].type == "VARCHAR"


def test_a_csv_without_a_header_is_written_and_read(table: Table, tmp_path: Path) -> None:
    csv = {"type": "csv", "csv": {"header": False, "delimiter": ";", "null_text": "-"}}
    table.publish(1, "SELECT 1 AS a, NULL AS b", format=csv)
    (written,) = Path(table.place["path"]).rglob("*.csv")
    assert written.read_text() == "1;-\n"
    source = DataSource.model_validate({"type": "file_system", "path": str(written), "format": csv})
    columns, found = rows(source, context_of(tmp_path))
    assert [column.name for column in columns] == ["column0", "column1"]
    assert found == [(1, None)]


def test_what_only_a_reader_may_be_told_is_refused_of_a_sink(table: Table) -> None:
    with pytest.raises(StageError, match="decimal, comment and skip_lines are for reading"):
        table.write(DAYS, format={"type": "csv", "csv": {"decimal": ","}})
