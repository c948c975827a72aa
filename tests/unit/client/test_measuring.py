"""Given files that are tables, when they are measured, then their schema, counts and statistics are known; files that
can't be read, or do not go together, are named with what is wrong."""

from __future__ import annotations

import builtins
import gzip
import struct
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.language.experiments.datasets import DatasetSpec
from forgelog.errors import InvalidInput
from forgelog.measuring import FEW, NotMeasured, measured, split_of, with_measured


def parquet(file: Path, select: str) -> Path:
    duckdb.sql(f"copy ({select}) to '{file}' (format parquet)")
    return file


def test_a_table_is_described_by_its_columns_and_their_values(tmp_path: Path) -> None:
    select = (
        "select i, i / 2 as half, i % 4 = 0 as even, [i] as list, date '2026-05-09' + i::int as day, "
        "case when i % 10 < 3 then 'cat' when i < 90 then 'dog' end as kind, "
        "case when i = 7 then 'nan'::double when i = 8 then null else 1.0 end as weight from range(100) t(i)"
    )
    found = measured(parquet(tmp_path / "animals.parquet", select))
    assert (found.data_format, found.samples, found.features, found.splits) == ("parquet", 100, 7, {})
    assert found.columns == {
        "i": "BIGINT", "half": "DOUBLE", "even": "BOOLEAN", "kind": "VARCHAR", "weight": "DOUBLE", "list": "BIGINT[]",
        "day": "DATE",
    }  # fmt: skip
    assert found.statistics["i"] == {
        "count": 100, "nulls": 0, "distinct": 100, "mean": 49.5, "deviation": pytest.approx(29.011, abs=1e-3),
        "least": 0.0, "most": 99.0,
        "edges": [pytest.approx(edge, rel=1e-5) for edge in (9, 19, 29, 39, 49, 59, 69, 79, 89)], "bins": [10] * 10,
    }  # fmt: skip
    assert found.statistics["even"]["mean"] == 0.25
    assert found.statistics["kind"] == {"count": 93, "nulls": 7, "distinct": 2, "frequent": {"dog": 63, "cat": 30}}
    assert found.statistics["weight"]["nulls"] == 2  # NaN is missing too
    assert found.statistics["list"] == {"count": 100, "nulls": 0}
    assert found.statistics["day"] == {"count": 100, "nulls": 0, "distinct": 100}
    DatasetSpec.model_validate({"digest": "d", **found._asdict()})


def test_numbers_are_counted_between_their_deciles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    select = "select (i % 3 = 0) as even, 7 as same, i * 0.1 as many, null::double as none from range(1000) t(i)"
    table = parquet(tmp_path / "t.parquet", select)
    found = measured(table).statistics
    assert (found["even"]["edges"], found["even"]["bins"]) == ([-1e-300, 0.0, 1.000001], [0, 666, 334, 0])
    assert found["same"]["bins"] == [0, 1000, 0]  # what is less or more than all has a bin too
    assert "edges" not in found["none"]
    # As a float32, which models are asked in, a value is in the bin that it was counted in.
    assert all(struct.unpack("f", struct.pack("f", value))[0] <= edge for value, edge in zip(
        (9.9, 19.9, 29.9), found["many"]["edges"], strict=False))  # fmt: skip
    monkeypatch.setattr("forgelog.measuring.EXACT_SAMPLES", 10)
    about = measured(table).statistics["many"]
    assert sum(about["bins"]) == 1000
    assert max(about["bins"]) <= 120  # estimated deciles, and exact counts between them


def test_values_that_are_rare_or_many_are_not_named(tmp_path: Path) -> None:
    table = parquet(
        tmp_path / "t.parquet", f"select 'n' || i % {FEW + 1} as many, 'x' || i // 991 as few from range(1000) t(i)"
    )
    statistics = measured(table).statistics
    assert (statistics["many"]["distinct"], "frequent" in statistics["many"]) == (FEW + 1, False)
    assert statistics["few"]["frequent"] == {"x0": 991}  # x1 occurs nine times


def test_splits_are_those_that_paths_name(tmp_path: Path) -> None:
    (tmp_path / "d/train").mkdir(parents=True)
    for number, path in enumerate(("train/part[1].csv", "train/part 2.csv", "mnist-test.csv")):
        (tmp_path / "d" / path).write_text("a;b\n" + f"{number};'x,y'\n" * (number + 1))
    (tmp_path / "d/README.md").write_text("about")
    (tmp_path / "d/.hidden").write_text("x")
    found = measured(tmp_path / "d")
    assert (found.samples, found.splits) == (6, {"test": 3, "train": 3})
    assert found.columns == {"a": "BIGINT", "b": "VARCHAR"}
    assert [split_of(path) for path in ("a/valid/x.csv", "testament.csv", "X_train.csv", "train/dev.csv")] == [
        "validation", "", "train", "validation",
    ]  # fmt: skip


def test_a_csv_file_s_first_line_names_its_columns_unless_it_has_numbers(tmp_path: Path) -> None:
    (tmp_path / "named.csv").write_text("\ufeffa,b\nx,y\n")
    (tmp_path / "plain.csv").write_text("1.5,x\n2,y\n")
    with gzip.open(tmp_path / "packed.csv.gz", "wt") as packed:
        packed.write("a\tb\n1\t\n")
    assert [*measured(tmp_path / "named.csv").columns] == ["a", "b"]
    assert measured(tmp_path / "plain.csv").columns == {"column0": "DOUBLE", "column1": "VARCHAR"}
    assert measured(tmp_path / "packed.csv.gz").statistics["b"]["nulls"] == 1


def test_types_of_text_files_hold_for_all_lines_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 30_000 + "1.5\n")
    (tmp_path / "b.csv").write_text("x\n2\n")
    assert measured(tmp_path).columns == {"x": "DOUBLE"}
    (tmp_path / "j.jsonl").write_text('{"a": 1}\n{"a": 2.5, "b": {"c": [1]}}\n')
    found = measured(tmp_path / "j.jsonl")
    assert found.columns == {"a": "DOUBLE", "b": "STRUCT(c BIGINT[])"}
    assert found.statistics["b"] == {"count": 1, "nulls": 1}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", b"", r"t.csv: is empty; leave it out"),
        ("t.csv", b"a,b\n", r"t.csv: has no samples"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", r"t.csv: can't be read as csv: its lines do not have equally many fields"),
        ("t.csv", b"a,b\n1,\xe9\n", r"t.csv: is not UTF-8"),
        ("t.csv", b"a,b\n" + b"1,x\n" * 50_000 + b"1,\xe9\n", r"t.csv: can't be read as csv: .*not utf-8"),
        ("t.jsonl", b'{"a": 1}\n{"a":\n', r"t.jsonl: can't be read as jsonl: line 2 of t.jsonl: Expecting value"),
        ("t.jsonl", b'{"a": "\xe9"}\n', r"t.jsonl: can't be read as jsonl: t.jsonl: 'utf-8' codec can't decode"),
        ("t.parquet", b"PAR1", r"t.parquet: can't be read as parquet: .*too small"),
        ("t.parquet", b"PAR1" + b"x" * 500, r"t.parquet: can't be read as parquet: No magic bytes found at end"),
        ("t.csv", b"a,\x01\n1,2\n", r"is no name of a column"),
        ("t.csv", b",".join(b"c%d" % n for n in range(2_001)) + b"\n" + b"x," * 2_000 + b"x\n", r"has 2001 columns"),
    ],
)
def test_files_that_can_not_be_read_are_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=problem):
        measured(tmp_path / name)


def test_a_cut_parquet_file_is_no_part_of_a_dataset(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "a.parquet", "select i from range(1000) t(i)").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match=r"b.parquet: can't be read as parquet"):
        measured(tmp_path)


def test_files_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", "select 1 as x")
    parquet(tmp_path / "b.parquet", "select 'y' as x")
    with pytest.raises(InvalidInput, match=r"b.parquet: does not go with a.parquet: 'x' is VARCHAR, and INTEGER there"):
        measured(tmp_path)
    parquet(tmp_path / "b.parquet", "select 1 as y")
    with pytest.raises(InvalidInput, match=r"b.parquet: does not go with a.parquet: only a.parquet has a column 'x'"):
        measured(tmp_path)


def test_what_is_no_table_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat.png").write_bytes(b"x")
    with pytest.raises(NotMeasured, match="there are no Parquet, CSV or JSON lines files"):
        measured(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\ncat.png,cat\n")
    with pytest.raises(NotMeasured, match=r"there are other files than csv, such as cat.png"):
        measured(tmp_path)
    assert measured(tmp_path, "csv").samples == 1
    (tmp_path / "labels.jsonl").write_text("{}")
    with pytest.raises(NotMeasured, match="files of several formats: csv, jsonl"):
        measured(tmp_path)

    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "duckdb":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        NotMeasured, match=r"it needs duckdb, which is not installed; pip install 'forgelog\[datasets\]'"
    ):
        measured(tmp_path, "csv")


def test_what_is_said_of_files_must_be_so(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("a,b\n1,2\n")
    found = measured(tmp_path / "test.csv")
    said = with_measured(
        {"samples": 1, "source": "s3://b/t", "columns": {"a": "int", "b": "label"}, "features": 1}, found
    )
    assert (said["columns"], said["features"], said["splits"]) == ({"a": "int", "b": "label"}, 1, {"test": 1})
    assert (said["source"], said["statistics"]["a"]["mean"]) == ("s3://b/t", 1.0)
    for wrong, problem in (
        ({"samples": 2}, "samples: is 2, and the files have 1; leave it out"),
        ({"splits": {"train": 1}}, "splits: is train=1, and the files have test=1; leave it out"),
        ({"columns": {"a": "int"}}, "columns: there is 'b', which the files have beside those that are named"),
        ({"features": 3}, "features: is 3, and the files have 2 columns"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            with_measured(wrong, found)
