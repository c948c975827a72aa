"""What a source reads, and what it says when it can't."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.language.pipelines.columns import Column
from events.language.pipelines.connections import Connection, DataSourceType
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import DataSource
from forgelog.pipelines.io import DatasetAt, allowed_paths, attach, reading_problem, resolve
from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.tables import context_of, rows


def files(path: object, **given: Any) -> DataSource:
    return DataSource.model_validate({"type": "file_system", "path": str(path)} | given)


def saved(path: Path, query: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.with_name("being-written")
    duckdb.connect().execute(f"COPY ({query}) TO '{target}' (FORMAT parquet)")
    return target.rename(path)


def read(source: DataSource, folder: Path, **given: Any) -> list[tuple[Any, ...]]:
    return rows(source, context_of(folder, **given))[1]


def refusal(source: DataSource, folder: Path, **given: Any) -> str:
    with pytest.raises(StageError) as refused:
        rows(source, context_of(folder, **given))
    return str(refused.value)


# -- names


@pytest.mark.parametrize(
    "name", ["x[1].parquet", "x*.parquet", "x?.parquet", "it's.parquet", 'a "b".parquet', "é ü.parquet"]
)
def test_a_file_that_is_named_like_a_pattern_is_itself(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "in" / f"{name}.parquet", "SELECT 1 AS a")
    saved(tmp_path / "in" / "x1.parquet", "SELECT 2 AS a")
    bracketed = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
    assert read(files(tmp_path / "in" / f"{bracketed}.parquet"), tmp_path) == [(1,)]
    assert read(files(tmp_path / "in" / "*.parquet"), tmp_path) == [(1,), (2,)]


def test_wild_cards(tmp_path: Path) -> None:
    for number, name in enumerate(
        ["a.parquet", "b/c.parquet", "b/d/e.parquet", "_x/f.parquet", ".g.parquet", "b/_h.parquet"]
    ):
        saved(tmp_path / "in" / name, f"SELECT {number} AS a")
    place = tmp_path / "in"
    assert read(files(f"{place}/*.parquet"), tmp_path) == [(0,)]
    assert read(files(f"{place}/*/*.parquet"), tmp_path) == [(1,)]
    assert read(files(f"{place}/**/*.parquet"), tmp_path) == [(0,), (1,), (2,)]
    assert read(files(f"{place}/"), tmp_path) == [(0,), (1,), (2,)]
    assert read(files(f"{place}/[bc]/**"), tmp_path) == [(1,), (2,)]
    assert read(files(f"{place}/_x/*"), tmp_path) == [(3,)]


def test_a_folder_is_no_file_and_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "in" / "a.parquet", "SELECT 1 AS a")
    assert "is a folder; end it with / for all files below" in refusal(files(tmp_path / "in"), tmp_path)
    assert f"path: there is no file '{tmp_path}/b.parquet'" in refusal(files(tmp_path / "b.parquet"), tmp_path)
    assert "path: no file fits" in refusal(files(tmp_path / "*.parquet"), tmp_path)
    assert "is relative, and connection.url is empty" in refusal(files("in/a.parquet"), tmp_path)
    assert read(files("in/a.parquet", connection={"url": f"file://{tmp_path}"}), tmp_path) == [(1,)]


def test_there_may_be_no_file(tmp_path: Path) -> None:
    source = files(tmp_path / "*.parquet", allow_empty=True, columns=[{"name": "a", "type": "DATE"}])
    columns, found = rows(source, context_of(tmp_path))
    assert ([column.type for column in columns], found) == (["DATE"], [])


def test_parameters_are_names_in_a_path(tmp_path: Path) -> None:
    saved(tmp_path / "in" / "2026-05-09" / "x[1].parquet", "SELECT 1 AS a")
    source = files(f"{tmp_path}/in/${{interval_start:%Y-%m-%d}}/${{name}}.parquet")
    start = datetime(2026, 5, 9, tzinfo=UTC)
    assert read(source, tmp_path, parameters={"name": "x[1]"}, interval_start=start) == [(1,)]
    assert "asks for ${interval_start}, and the run has no interval" in refusal(source, tmp_path)
    assert "asks for ${name}, and the run's parameters are: none" in refusal(source, tmp_path, interval_start=start)
    for wrong in ("../etc", "a/b", "", ".."):
        problem = refusal(source, tmp_path, interval_start=start, parameters={"name": wrong})
        assert "can't be a name in a path" in problem


def test_nothing_else_can_be_read(tmp_path: Path) -> None:
    saved(tmp_path / "in" / "a.parquet", "SELECT 1 AS a")
    saved(tmp_path / "other.parquet", "SELECT 'secret' AS a")
    resolved = resolve(files(tmp_path / "in" / "a.parquet"), context_of(tmp_path))
    connection = duckdb.connect()
    connection.execute(f"SET allowed_paths = ['{allowed_paths(resolved)[0]}']")
    attach(connection, "rows", resolved)
    connection.execute("SET enable_external_access = false")
    assert connection.execute("SELECT * FROM rows").fetchall() == [(1,)]
    with pytest.raises(duckdb.PermissionException):
        connection.execute(f"SELECT * FROM read_parquet('{tmp_path}/other.parquet')")


# -- columns


def test_new_columns_and_wider_types_of_later_files_are_read(tmp_path: Path) -> None:
    saved(tmp_path / "1.parquet", "SELECT 1::INTEGER AS a")
    saved(tmp_path / "2.parquet", "SELECT 2::BIGINT AS a, 'x' AS b")
    columns, found = rows(files(tmp_path / "*.parquet"), context_of(tmp_path))
    assert [(column.name, column.type) for column in columns] == [("a", "BIGINT"), ("b", "VARCHAR")]
    assert found == [(1, None), (2, "x")]


def test_drift_can_be_refused(tmp_path: Path) -> None:
    saved(tmp_path / "1.parquet", "SELECT 1::INTEGER AS a, 1 AS b")
    saved(tmp_path / "2.parquet", "SELECT 2::BIGINT AS a, 1 AS b")
    problem = refusal(files(tmp_path / "*.parquet", infer={"drift": "refuse"}), tmp_path)
    assert problem.startswith(f"infer.drift: '{tmp_path}/2.parquet' has 'a' of type BIGINT, other than")
    saved(tmp_path / "2.parquet", "SELECT 1 AS b")
    problem = refusal(files(tmp_path / "*.parquet", infer={"drift": "refuse"}), tmp_path)
    assert "2.parquet' lacks the column 'a'" in problem


def test_given_columns_are_chosen_and_cast(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,day,note\n007,2026-05-09,x\n")
    given = [{"name": "day", "type": "DATE"}, {"name": "id", "type": "VARCHAR"}]
    assert read(files(tmp_path / "a.csv", columns=given), tmp_path) == [(date(2026, 5, 9), "007")]
    given = [{"name": "price", "type": "DOUBLE"}]
    problem = refusal(files(tmp_path / "a.csv", columns=given), tmp_path)
    assert problem.startswith("columns[0].name: there is no column 'price'; there are: id, day, note")
    given = [{"name": "note", "type": "DATE"}]
    with pytest.raises(duckdb.Error, match="Could not convert string"):
        read(files(tmp_path / "a.csv", columns=given), tmp_path)


def test_partitions_are_columns(tmp_path: Path) -> None:
    days = {"day=2026-05-09": 1, "day=__HIVE_DEFAULT_PARTITION__": 2}
    for folder, number in days.items():
        saved(tmp_path / folder / "a.parquet", f"SELECT {number} AS a")
    source = files(f"{tmp_path}/*/*.parquet", partitions=[{"name": "day", "type": "DATE"}])
    assert read(source, tmp_path) == [(1, date(2026, 5, 9)), (2, None)]


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("day=tomorrow", "partitions[0].type: '{0}' is of day='tomorrow', which is no DATE"),
        ("day=2026=05", "path: '{0}' has the folder 'day=2026=05', whose value has a = (write %3D for it)"),
        ("other", "path: '{0}' has no folder day=VALUE"),
        ("day=2026-05-09/day=2026-05-10", "path: '{0}' has two folders for day"),
    ],
)
def test_odd_partition_values_are_named(tmp_path: Path, folder: str, problem: str) -> None:
    path = saved(tmp_path / folder / "a.parquet", "SELECT 1 AS a")
    source = files(f"{tmp_path}/**/*.parquet", partitions=[{"name": "day", "type": "DATE"}])
    assert refusal(source, tmp_path).startswith(problem.format(path))


# -- files that are damaged


def test_a_cut_or_empty_file_of_parquet_is_named_before_any_row_is_read(tmp_path: Path) -> None:
    whole = saved(tmp_path / "in" / "1.parquet", "SELECT range AS a FROM range(10000)").read_bytes()
    for name, data, problem in (
        ("2.parquet", whole[: len(whole) // 2], "magic bytes"),
        ("2.parquet", b"", "has no bytes, and a Parquet file has a footer"),
        ("2.parquet", b"PAR1", "too small to be a Parquet file"),
    ):
        (tmp_path / "in" / name).write_bytes(data)
        said = refusal(files(f"{tmp_path}/in/*.parquet"), tmp_path)
        assert problem in said
        assert f"{tmp_path}/in/2.parquet" in said
        assert said.startswith("path: ")


def test_a_file_of_csv_in_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("name\nZoë\n")
    (tmp_path / "2.csv").write_bytes("name\nZoë\n".encode("latin-1"))
    said = refusal(files(f"{tmp_path}/*.csv"), tmp_path)
    assert said.startswith(f"format.csv.encoding: line 2 of '{tmp_path}/2.csv': Invalid unicode")
    assert said.endswith("say how the file is encoded, such as latin_1 or windows_1252, or give a path without it")


def test_a_value_of_another_type_far_down_is_placed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n" + "1\n" * 30_000 + "one\n")
    resolved = resolve(files(tmp_path / "a.csv"), context_of(tmp_path))
    connection = duckdb.connect()
    attach(connection, "rows", resolved)
    with pytest.raises(duckdb.Error) as said:
        connection.execute("SELECT * FROM rows").fetchall()
    problem = reading_problem(said.value, resolved)
    assert problem.field == "infer"
    assert problem.problem.startswith(f"line 30002 of '{tmp_path}/a.csv': Error when converting column \"n\"")


@pytest.mark.parametrize("encoding", ["latin_1", "windows_1252", "utf_16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "name;n\nZoë;1\nÜnal;2\n"
    (tmp_path / "a.csv").write_bytes(text.encode("cp1252" if encoding == "windows_1252" else encoding))
    (tmp_path / "b.csv.gz").write_bytes(
        gzip.compress(text.encode("cp1252" if encoding == "windows_1252" else encoding))
    )
    source = files(f"{tmp_path}/*.csv*", format={"type": "csv", "csv": {"encoding": encoding, "delimiter": ";"}})
    assert read(source, tmp_path) == [("Zoë", 1), ("Zoë", 1), ("Ünal", 2), ("Ünal", 2)]


def test_text_that_is_not_of_its_encoding_is_placed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"name\nabc\x81\n")
    source = files(tmp_path / "a.csv", format={"type": "csv", "csv": {"encoding": "windows_1252"}})
    assert f"'{tmp_path}/a.csv' is no windows_1252 at byte 8" in refusal(source, tmp_path)


def test_bad_lines_are_an_error_or_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4,5\n6,7\nx\n")
    given = [{"name": "a", "type": "INTEGER"}, {"name": "b", "type": "INTEGER"}]
    format_ = {"type": "csv", "csv": {"max_bad_rows": 2}}
    assert read(files(tmp_path / "a.csv", columns=given, format=format_), tmp_path) == [(1, 2), (6, 7)]
    format_ = {"type": "csv", "csv": {"max_bad_rows": 1}}
    problem = refusal(files(tmp_path / "a.csv", columns=given, format=format_), tmp_path)
    assert problem.startswith("format.csv.max_bad_rows: more than 1 lines can't be read; one is line 3 of")


@pytest.mark.parametrize("bad", [0, 1])
def test_a_line_of_a_copy_is_named_by_its_file(tmp_path: Path, bad: int) -> None:
    folder = tmp_path / "in" / "day=2026-05-01"
    folder.mkdir(parents=True)
    (folder / "of a day.csv").write_bytes("shop,amount\nGenève,1\n1,2,3\n1,2,3\n".encode("latin-1"))
    format_ = {"type": "csv", "csv": {"encoding": "latin_1", "max_bad_rows": bad}}
    said = refusal(files(f"{tmp_path}/in/*/*.csv", format=format_), tmp_path)
    assert f"line 3 of '{folder}/of a day.csv': " in said


def test_copies_of_other_columns_are_named_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n")
    (tmp_path / "b.csv").write_bytes(b"a,c\n1,2\n")
    format_ = {"type": "csv", "csv": {"encoding": "latin_1"}}
    said = refusal(files(f"{tmp_path}/*.csv", format=format_, infer={"drift": "refuse"}), tmp_path)
    assert f"'{tmp_path}/b.csv' lacks the column 'b', other than '{tmp_path}/a.csv'" in said


@pytest.mark.parametrize("named", ["bad.csv", "x[1].csv"])
def test_a_line_of_more_values_than_the_others_is_named(tmp_path: Path, named: str) -> None:
    file = tmp_path / named
    file.write_text("id,amount\n1,2\n2,3,more\n3,4\n")
    path = tmp_path / named.replace("[", "[[]")
    for given in ({}, {"columns": [{"name": "id", "type": "BIGINT"}, {"name": "amount", "type": "BIGINT"}]}):
        said = refusal(files(path, **given), tmp_path)
        assert f"line 3 of '{file}': Expected Number of Columns: 2 Found: 3; the line is '2,3,more'" in said
        assert "set max_bad_rows" in said
        tolerant = files(path, format={"type": "csv", "csv": {"max_bad_rows": 1}}, **given)
        assert read(tolerant, tmp_path) == [(1, 2), (3, 4)]


def test_formats_are_told_by_names_or_given(tmp_path: Path) -> None:
    (tmp_path / "a.data").write_text("a\tb\n1\t2\n")
    assert "tells no format; give the format" in refusal(files(tmp_path / "a.data"), tmp_path)
    format_ = {"type": "csv", "csv": {"delimiter": "\t"}}
    assert read(files(tmp_path / "a.data", format=format_), tmp_path) == [(1, 2)]
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.csv").write_text("a\n1\n")
    saved(tmp_path / "mixed" / "b.parquet", "SELECT 1 AS a")
    assert "a path that means files of one format" in refusal(files(f"{tmp_path}/mixed/"), tmp_path)


def test_json_in_lines_and_in_lists(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1, "b": {"c": [1, 2]}}\n{"a": 2}\n')
    (tmp_path / "b.json").write_text(json.dumps([{"a": 3}, {"a": 4, "b": {"c": []}}]))
    assert read(files(f"{tmp_path}/*.json*"), tmp_path) == [
        (1, {"c": [1, 2]}),
        (2, None),
        (3, None),
        (4, {"c": []}),
    ]
    (tmp_path / "c.jsonl").write_text('{"a": 1}\n{"a": \n')
    assert refusal(files(tmp_path / "c.jsonl"), tmp_path).startswith("format.json_layout: ")


@pytest.mark.parametrize("kind", ["avro", "arrow"])
def test_damaged_files_of_other_formats_are_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    for data in (b"", b"nonsense", b"Obj\x01" + b"\xff" * 30):
        path.write_bytes(data)
        assert f"'{path}' is no whole file of {kind.capitalize()}" in refusal(files(path), tmp_path)


# -- datasets, and what is the same


def test_the_identity_changes_with_the_files_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "in" / "a.parquet", "SELECT 1 AS a")
    source = files(f"{tmp_path}/in/*.parquet")
    first = resolve(source, context_of(tmp_path)).identity
    assert first == resolve(source, context_of(tmp_path)).identity
    os.utime(path, ns=(0, 0))
    assert resolve(source, context_of(tmp_path)).identity != first


def test_a_dataset_is_read_by_its_version(tmp_path: Path) -> None:
    from events.language.pipelines.sinks import DataSink
    from forgelog.pipelines.io import publish, write_aside

    context = context_of(tmp_path)
    sink = DataSink.model_validate({"type": "dataset", "dataset": "clean", "mode": "append"})
    for version in (1, 2):
        manifest = write_aside(duckdb.connect(), f"SELECT {version} AS a", sink, f"run-{version}.1", context)
        publish(sink, manifest, version, context)

    def versions(name: str, version: int) -> DatasetAt:
        if name != "clean" or version > 3:
            raise LookupError(name)
        return DatasetAt("clean", version or 2, DataSourceType.DATASET, manifest.base)

    def source(version: int = 0, name: str = "clean") -> DataSource:
        return DataSource.model_validate({"type": "dataset", "dataset": name, "version": version})

    assert read(source(), tmp_path, dataset_versions=versions) == [(1,), (2,)]
    assert read(source(1), tmp_path, dataset_versions=versions) == [(1,)]
    assert resolve(source(1), context_of(tmp_path, dataset_versions=versions)).identity == ("dataset clean 1",)
    assert "dataset: there is no published 'dirty'" in refusal(
        source(name="dirty"), tmp_path, dataset_versions=versions
    )
    assert "there is no published version 4 of dataset 'clean'" in refusal(
        source(4), tmp_path, dataset_versions=versions
    )
    assert "version 3 of dataset 'clean' is not at" in refusal(source(3), tmp_path, dataset_versions=versions)


def test_the_quarantine_of_a_version_is_read_where_it_is_kept_or_is_empty(tmp_path: Path) -> None:
    from forgelog.pipelines.io import publish, write_aside
    from forgelog.worker.making import quarantine_of

    context = context_of(tmp_path)
    beside = quarantine_of(DataSink.model_validate({"type": "dataset", "dataset": "clean", "mode": "append"}), "")
    manifest = write_aside(duckdb.connect(), "SELECT 1 AS a, ['r'] AS _rules", beside, "run-1.1", context)
    publish(beside, manifest, 1, context)

    def kept(_: str, version: int) -> DatasetAt:
        return DatasetAt("clean", version, DataSourceType.DATASET, manifest.base, stored=1)

    def none(_: str, version: int) -> DatasetAt:
        empty = (Column(name="a", type="INTEGER"), Column(name="_rules", type="VARCHAR[]"))
        return DatasetAt("clean", version, DataSourceType.DATASET, "", empty=empty)

    source = DataSource.model_validate({"type": "dataset", "dataset": "clean.quarantine", "version": 3})
    assert read(source, tmp_path, dataset_versions=kept) == [(1, ["r"])]
    assert read(source, tmp_path, dataset_versions=none) == []
    found = resolve(source, context_of(tmp_path, dataset_versions=kept))
    assert (found.identity, found.dataset_id, found.version) == (("quarantine of dataset clean 3",), "clean", 3)


def test_a_quarantine_that_has_grown_is_read_with_the_columns_of_all_its_rows(tmp_path: Path) -> None:
    """Columns have come, gone, and changed their types since: what was set aside before is there all the same."""
    from forgelog.pipelines.io import publish, write_aside
    from forgelog.worker.making import quarantine_of

    context = context_of(tmp_path)
    beside = quarantine_of(DataSink.model_validate({"type": "dataset", "dataset": "clean", "mode": "append"}), "")
    rows = ("1 AS id, 'old' AS note", "2 AS id, 5 AS price", "'x3' AS id, 6.5 AS price, NULL::JSON AS _row")
    for version, row in enumerate(rows, 1):
        query = f"SELECT {row}, ['r{version}'] AS _rules"
        manifest = write_aside(duckdb.connect(), query, beside, f"run-{version}.1", context)
        publish(beside, manifest, version, context)

    def kept(_: str, version: int) -> DatasetAt:
        return DatasetAt("clean", version, DataSourceType.DATASET, manifest.base, stored=3)

    source = DataSource.model_validate({"type": "dataset", "dataset": "clean.quarantine"})
    connection = duckdb.connect()
    columns = attach(connection, "bad", resolve(source, context_of(tmp_path, dataset_versions=kept))).columns
    assert {column.name for column in columns} == {"id", "note", "price", "_row", "_rules"}
    found = connection.execute("SELECT id, note, price, _rules FROM bad ORDER BY _rules").fetchall()
    assert [(str(id), note, None if price is None else float(price), rules) for id, note, price, rules in found] == [
        ("1", "old", None, ["r1"]),
        ("2", None, 5.0, ["r2"]),
        ("x3", None, 6.5, ["r3"]),
    ]


def test_sums_of_whole_numbers_stay_exact(tmp_path: Path) -> None:
    from tests.unit.pipelines.tables import local_table

    table = local_table(tmp_path)
    table.publish(1, "SELECT sum(a) AS a FROM (VALUES (9223372036854775807), (9223372036854775807)) t(a)")
    assert table.read() == [(Decimal("18446744073709551614"),)]


def test_a_secret_that_the_node_has_not(tmp_path: Path) -> None:
    connection = Connection.model_validate({"secret": {"name": "nobody-knows"}})
    source = DataSource(type=DataSourceType.S3, path="s3://b/a.csv", connection=connection)
    assert refusal(source, tmp_path).startswith("connection.secret: this node has no secret 'nobody-knows'")
