"""How many rows a stage has read: those of its inputs, each once, in whatever they are kept."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

from events.language.pipelines.formats import Compression
from events.language.pipelines.sources import DataSource
from forgelog.pipelines import io
from forgelog.pipelines.engine import open_connection
from forgelog.pipelines.io import topics
from forgelog.pipelines.io.local import LocalFolder
from forgelog.worker import making
from forgelog.worker.counting import Counting
from forgelog.worker.job import StageJob
from forgelog.worker.making import transformed
from forgelog.worker.sampling import ObjectFolder
from tests.unit.worker.stage_bench import Bench


@pytest.fixture(autouse=True)
def _objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := tmp_path / "objects").mkdir()
    monkeypatch.setattr(StageJob, "objects", lambda _: ObjectFolder(folder))


PAIRS = "SELECT range AS a, range % 3 AS b FROM range({})"


def saved(path: Path, rows: int, options: str = "FORMAT parquet") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({PAIRS.format(rows)}) TO '{path}' ({options})")
    return path


def read(
    bench: Bench, source: dict[str, Any] | Path | str, sql: str = "SELECT a FROM raw WHERE a < 2", **more: Any
) -> int:
    """What a stage says that takes some of the rows of a source."""
    return rows_of(bench.perform(taking(source, sql, **more)))


def rows_of(done: Any) -> int:
    return int(done["metrics"]["rows_read"])


def taking(
    source: dict[str, Any] | Path | str, sql: str = "SELECT a FROM raw WHERE a < 2", **more: Any
) -> dict[str, Any]:
    return {"inputs": {"raw": {"source": _source(source)}}, "transformations": [custom(sql)], **more}


def _source(given: dict[str, Any] | Path | str) -> dict[str, Any]:
    return given if isinstance(given, dict) else {"type": "file_system", "path": str(given)}


def custom(sql: str) -> dict[str, Any]:
    return {"type": "custom", "custom": {"sql": sql}}


def of_csv(path: Path | str, **csv: Any) -> dict[str, Any]:
    return {"type": "file_system", "path": str(path), "format": {"type": "csv", "csv": csv}}


# -- what the rows are kept in


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "csv.gz", "arrow", "avro", "latin-1", "delta"])
def test_the_rows_of_files(bench: Bench, kind: str) -> None:
    path, source = bench.folder / f"in.{kind}", None
    if kind in ("arrow", "avro"):
        from forgelog.pipelines.io import conversions

        plain = saved(bench.folder / "plain", 5_000)
        getattr(conversions, f"parquet_to_{kind}")(plain, path, Compression.NONE, {})
    elif kind == "delta":
        deltalake.write_deltalake(path, pa.table({"a": range(2_000)}))
        deltalake.write_deltalake(path, pa.table({"a": range(3_000)}), mode="append")
        source = {"type": "file_system", "path": str(path), "format": {"type": "delta"}}
    elif kind == "latin-1":
        path = saved(bench.folder / "in.csv", 5_000, "FORMAT csv, HEADER")
        source = of_csv(path, encoding="latin_1")
    else:
        saved(path, 5_000, f"FORMAT {kind.removesuffix('.gz')}" + (", COMPRESSION gzip" if "gz" in kind else ""))
    assert read(bench, source or path) == 5_000


def test_the_log_of_a_table_of_delta_lake_may_count_no_rows(bench: Bench) -> None:
    folder = bench.folder / "t"
    deltalake.write_deltalake(folder, pa.table({"a": range(2_000)}))
    log = next((folder / "_delta_log").glob("*.json"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line.get("add", {}).pop("stats", None)
    log.write_text("\n".join(map(json.dumps, lines)))
    assert read(bench, {"type": "file_system", "path": str(folder), "format": {"type": "delta"}}) == 2_000


def test_the_rows_of_databases(bench: Bench) -> None:
    with sqlite3.connect(bench.folder / "a.db") as database:
        database.execute("CREATE TABLE t (a INTEGER, d DATE)")
        database.executemany("INSERT INTO t VALUES (?, '2026-05-09')", [(n,) for n in range(30)])
    database.close()
    with duckdb.connect(bench.folder / "a.duckdb") as other:
        other.execute(f"CREATE TABLE t AS {PAIRS.format(40)}")
    lite = {"type": "database", "connection": {"url": f"sqlite:///{bench.folder}/a.db"}}
    assert read(bench, {**lite, "table": "t"}) == 30
    assert read(bench, {**lite, "query": "SELECT a FROM t WHERE a >= 20"}, "SELECT count(*) AS a FROM raw") == 10
    assert (
        read(bench, {"type": "database", "connection": {"url": f"duckdb:///{bench.folder}/a.duckdb"}, "table": "t"})
        == 40
    )


def test_the_rows_of_a_dataset_are_those_of_its_version(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench.perform(bench.cleaning())["prepared"]["manifest"]
    bench.perform(bench.cleaning(), "publish", manifest=first, dataset_version=1)
    at = {"dataset_id": "clean-orders", "version": 1, "type": "dataset", "base": first["base"]}
    bench.versions["clean-orders"] = at
    monkeypatch.setattr(io, "rows_of", lambda _connection, _name, resolved: resolved.rows)  # no look at the files
    assert read(bench, {"type": "dataset", "dataset": "clean-orders"}, "SELECT id FROM raw LIMIT 1") == 2


def test_the_rows_of_a_folder_that_a_stage_has_written_as_text(bench: Bench) -> None:
    sink = {"type": "file_system", "path": f"{bench.folder}/out/", "format": {"type": "csv"}, "partition_by": ["item"]}
    stage = bench.cleaning(sink=sink, transformations=[])
    manifest = bench.perform(stage)["prepared"]["manifest"]
    bench.perform(stage, "publish", manifest=manifest, dataset_version=1)
    assert read(bench, f"{bench.folder}/out/", "SELECT id FROM raw WHERE item = 'fig'") == 3
    each = taking(f"{bench.folder}/out/", "SELECT id FROM raw", for_each={"input": "raw"})
    planned = bench.perform(each, "resolve")["resolved"]
    assert planned["count"] == 3
    done = bench.perform(each, first_task=1, last_task=2, items=planned["items"])
    assert (done["output"]["rows"], rows_of(done)) == (2, 2)


async def _records(_: io.Resolved, path: Path) -> None:
    """Five, of which one has no value."""
    with duckdb.connect() as connection:
        at = "TIMESTAMPTZ '2026-05-09 00:00:00Z' + to_seconds(range * 10)"
        value = "CASE WHEN range <> 1 THEN '{\"a\": ' || range || '}' END AS value"
        own = f"NULL::VARCHAR AS _key, 0 AS _partition, range AS _offset, {at} AS _timestamp"
        connection.execute(f"COPY (SELECT {value}, {own} FROM range(5)) TO '{path}' (FORMAT parquet)")


def test_the_records_of_a_topic(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_save", _records)
    monkeypatch.setattr(topics, "offsets_to_read", lambda *_: {0: (0, 5)})
    source: dict[str, Any] = {"type": "kafka", "connection": {"url": "here:9092"}, "topic": "orders", "id": "orders"}
    assert read(bench, source) == 4

    source["streaming"] = {"windows": {"size_seconds": 10}, "delay_seconds": 0}
    batch = {
        "trigger": "new",
        "topic": "orders",
        "url": "here:9092",
        "ranges": [{"partition": 0, "start": 0, "end": 5}],
    }
    done = bench.perform(taking(source, "SELECT a FROM raw"), topics=[batch])
    assert (done["output"]["rows"], done["metrics"]["held_rows"], rows_of(done)) == (3, 1, 4)


def test_what_stages_have_handed_on(bench: Bench) -> None:
    handed_on = bench.perform(bench.cleaning(sink=None))["output"]
    stage = {"inputs": {"orders": {"stage": "clean"}}, "transformations": [custom("SELECT 1 AS x FROM orders LIMIT 1")]}
    given = [{"name": "orders", "output": handed_on}]
    assert rows_of(bench.perform(stage, inputs=given)) == 2
    assert rows_of(bench.perform(stage, inputs=given * 2)) == 4
    assert (
        rows_of(bench.perform({**stage, "for_each": {"input": "orders"}}, inputs=given, first_task=0, last_task=1)) == 2
    )


def test_no_rows(bench: Bench) -> None:
    none = {"allow_empty": True, "columns": [{"name": "a", "type": "BIGINT"}]}
    assert read(bench, {"type": "file_system", "path": f"{bench.folder}/*.parquet", **none}) == 0
    (bench.folder / "header.csv").write_text("a,b\n")
    assert read(bench, of_csv(bench.folder / "header.csv"), "SELECT a FROM raw") == 0
    assert "rows_read" not in bench.perform({})["metrics"]


# -- text, which is not read again to be counted


def test_text_is_counted_once_however_many_queries_read_it(bench: Bench) -> None:
    path = saved(bench.folder / "a.csv", 5_000, "FORMAT csv, HEADER")
    other = saved(bench.folder / "b, ... c, 100%.json", 300, "FORMAT json")
    joined = "SELECT raw.a FROM raw JOIN raw AS r USING (a) WHERE raw.b IN (SELECT b FROM raw WHERE a < 10)"
    assert read(bench, path, joined) == 5_000
    both = {"raw": {"source": _source(path)}, "same": {"source": _source(path)}, "other": {"source": _source(other)}}
    sql = "SELECT a FROM raw JOIN same USING (a) JOIN other USING (a)"
    assert rows_of(bench.perform({"inputs": both, "transformations": [custom(sql)]})) == 2 * 5_000 + 300


def test_many_files_of_text(bench: Bench) -> None:
    for number in range(12):
        saved(bench.folder / "in" / f"day={number % 2}" / f"{number}.csv", 100 + number, "FORMAT csv, HEADER")
    source = _source(f"{bench.folder}/in/**/*.csv")
    assert read(bench, source) == 12 * 100 + 66
    days = {**source, "partitions": [{"name": "day", "type": "INTEGER"}]}
    assert read(bench, days) == 12 * 100 + 66
    # files that no query reads are not counted
    assert read(bench, days, "SELECT a FROM raw WHERE day = 1") == 6 * 100 + 36


def test_lines_that_are_left_out_are_no_rows(bench: Bench) -> None:
    path = bench.folder / "a.csv"
    path.write_text("a,b\n1,2\n3\n4,5\n")
    assert read(bench, of_csv(path, max_bad_rows=1), "SELECT a FROM raw WHERE a = 1") == 2


def test_rows_that_rules_refuse_were_read(bench: Bench) -> None:
    path = saved(bench.folder / "a.csv", 1_000, "FORMAT csv, HEADER")
    rule = {"rule_id": "few", "type": "range", "columns": ["a"], "maximum": "9"}
    done = bench.perform(taking({**_source(path), "rules": [{**rule}]}, "SELECT a FROM raw"))
    assert (done["output"]["rows"], done["metrics"]["rejected_rows"], rows_of(done)) == (10, 990, 1_000)
    failed = bench.perform(taking(path, "SELECT a FROM raw", rules=[{**rule, "severity": "critical"}]))
    assert failed["failed"]["kind"] == "rule"
    assert rows_of(failed) == 1_000


@pytest.mark.parametrize("frame", ["narwhals", "arrow", "reader", "relation"])
def test_functions_read_text_too(bench: Bench, monkeypatch: pytest.MonkeyPatch, frame: str) -> None:
    (bench.folder / f"reading_{frame}.py").write_text("def some(raw, more=None):\n    return raw\n")
    monkeypatch.syspath_prepend(str(bench.folder))
    function = {"module": f"reading_{frame}", "function": "some", "frame": frame}
    sources = {"raw": {"source": _source(saved(bench.folder / "a.csv", 5_000, "FORMAT csv, HEADER"))}}
    if frame != "reader":  # a connection has one at a time
        sources["more"] = {"source": _source(saved(bench.folder / "b.csv", 70, "FORMAT csv, HEADER"))}
    stage = {"inputs": sources, "transformations": [{"type": "custom", "custom": {"python": function}}]}
    # a frame that is a query is read where its rows are needed
    assert rows_of(bench.perform(stage)) == (5_070 if frame == "arrow" else 5_000)


def test_tasks_count_their_own_part(bench: Bench) -> None:
    for number in range(3):
        saved(bench.folder / "in" / f"{number}.csv", 10 + number, "FORMAT csv, HEADER")
    each = taking(f"{bench.folder}/in/*.csv", "SELECT a FROM raw", for_each={"input": "raw"})
    items = bench.perform(each, "resolve")["resolved"]["items"]
    assert rows_of(bench.perform(each, first_task=1, last_task=2, items=items)) == 11 + 12
    counted = taking(f"{bench.folder}/in/0.csv", "SELECT a, $task AS t FROM raw", for_each={"count": 2})
    assert rows_of(bench.perform(counted, first_task=0, last_task=1)) == 20


def test_a_sample_counts_nothing(bench: Bench) -> None:
    path = saved(bench.folder / "a.csv", 5_000, "FORMAT csv, HEADER")
    with transformed(bench.job(taking(path), most_rows=7)) as (connection, inputs, ran):
        assert len(connection.execute(f"SELECT * FROM {ran.relation}").fetchall()) == 2
        assert inputs.rows == 0


def test_a_duckdb_without_profiles_reads_all_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        """As DuckDB 1.4 has it."""

        def __init__(self, *given: Any) -> None:
            self._connection = open_connection(*given)

        def __getattr__(self, name: str) -> Any:
            if name == "get_profiling_information":
                raise AttributeError(name)
            return getattr(self._connection, name)

    monkeypatch.setattr(making, "open_connection", Older)
    done = bench.perform(taking(saved(bench.folder / "a.csv", 5_000, "FORMAT csv, HEADER")))
    assert (done["output"]["rows"], rows_of(done)) == (2, 0)


def test_only_stages_that_read_text_are_profiled(bench: Bench) -> None:
    path = saved(bench.folder / "a.parquet", 5_000)
    with transformed(bench.job(taking(path))) as (connection, inputs, _):
        assert isinstance(connection, Counting)
        assert "disabled" in connection.get_profiling_information()
        assert inputs.rows == 5_000


def test_spark_is_given_what_was_counted(bench: Bench) -> None:
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed: uv sync --extra spark")
    bench.engine = {"engine": "spark"}
    path = saved(bench.folder / "a.csv", 5_000, "FORMAT csv, HEADER")
    joined = "SELECT raw.a FROM raw JOIN raw AS r ON raw.a = r.a WHERE raw.b = 1"
    assert read(bench, path, joined) == 5_000


# -- footers


def test_the_footer_of_a_file_in_a_store_is_asked_for_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(bench.folder / "in[1].parquet", 5_000)  # a name of DuckDB's patterns is read as a store's file is
    asked: list[tuple[int, int]] = []
    plain = LocalFolder.read_range

    def counted(folder: LocalFolder, name: str, start: int, end: int) -> bytes:
        asked.append((start, end))
        return plain(folder, name, start, end)

    monkeypatch.setattr(LocalFolder, "read_range", counted)
    source = DataSource.model_validate(_source(str(path).replace("[", "[[]")))
    resolved = io.resolve(source, bench.job({}).context())
    with duckdb.connect() as connection:
        io.attach(connection, "rows", resolved)
        footers = len(asked)
        assert io.rows_of(connection, "rows", resolved) == 5_000
        assert len(asked) == footers == 1
