"""The work of a stage: from its inputs to what is aside, and from there to its place."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError

from events.language.pipelines.lineage import LineageEdges, LineageInput
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import DataSource
from forgelog.pipelines.problems import StageError
from forgelog.worker import making, manifests
from forgelog.worker.failing import failure_of
from forgelog.worker.job import StageJob
from forgelog.worker.origins import MOST_HANDED_ON, Origins
from forgelog.worker.sampling import ObjectFolder
from tests.unit.worker.stage_bench import ORDERS, Bench


def test_a_csv_is_filtered_and_written_aside(bench: Bench) -> None:
    done = bench.perform(bench.cleaning())

    assert done["prepared"]["manifest"]["rows"] == 2
    assert done["prepared"]["manifest"]["attempt"] == "daily.7.clean.1"
    assert [column["name"] for column in done["prepared"]["manifest"]["columns"]] == ["id", "item", "price"]
    assert done["prepared"]["inputs"] == [{"name": "raw", "dataset_id": "", "version": 0, "location": str(bench.csv)}]
    assert {(edge["column"], edge["dataset"], edge["source"]) for edge in done["prepared"]["lineage"]["columns"]} == {
        (name, "raw", name) for name in ("id", "item", "price")
    }
    assert done["metrics"]["rows_written"] == 2
    assert done["metrics"]["bytes_read"] == len(ORDERS)
    assert not bench.published()


def test_a_stage_of_a_debugged_run_writes_down_what_it_reads_and_runs(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.perform(bench.cleaning())
    assert capsys.readouterr().out == ""

    bench.perform(bench.cleaning(), attempt=2, debug=True)
    inputs, place, query = capsys.readouterr().out.splitlines()
    assert inputs == "debug: input raw: id BIGINT, item VARCHAR, price BIGINT"
    assert place == f"debug: input raw is {bench.csv}"
    assert query.startswith("debug: t1: SELECT")
    assert "price > 0" in query


def test_what_is_aside_is_published_once(bench: Bench) -> None:
    prepared = bench.perform(bench.cleaning())["prepared"]
    for already in (False, True):
        done = bench.perform(bench.cleaning(), "publish", manifest=prepared["manifest"], dataset_version=1)
        assert done["published"]["already"] is already

    assert bench.published() == [(1, "apple", 3), (3, "fig", 5)]


def test_a_zombie_publishes_nothing_over_its_successor(bench: Bench) -> None:
    first = bench.perform(bench.cleaning())["prepared"]
    bench.csv.write_text(ORDERS + "4,plum,7\n")
    second = bench.perform(bench.cleaning(), attempt=2)["prepared"]
    bench.perform(bench.cleaning(), "publish", attempt=2, manifest=second["manifest"], dataset_version=2)

    late = bench.perform(bench.cleaning(), "publish", manifest=first["manifest"], dataset_version=1)
    assert late["published"] == {"location": second["manifest"]["base"], "superseded": True}
    assert [row[0] for row in bench.published()] == [1, 3, 4]
    assert not bench.has(first["manifest"]["aside"]), "nobody will publish what it wrote"
    assert bench.has(second["manifest"]["aside"])
    again = bench.perform(bench.cleaning(), "publish", attempt=2, manifest=second["manifest"], dataset_version=2)
    assert (again["published"]["already"], bench.has(second["manifest"]["aside"])) == (True, True)


def test_an_attempt_that_fails_before_it_tells_of_its_output_leaves_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [{"rule_id": "paid", "type": "range", "columns": ["price"], "minimum": "0", "threshold": 0.5}]

    def gone(manifest: Any, *_: object) -> Any:
        assert bench.has(manifest.aside)
        raise StageError("", "the platform's store does not answer", "")

    with monkeypatch.context() as patched:
        patched.setattr(making, "carried", gone)
        with pytest.raises(StageError, match="the platform's store does not answer"):
            bench.perform(bench.cleaning(transformations=[], rules=rules))
    assert not list(bench.datasets.rglob("*.parquet"))
    assert "prepared" in bench.perform(bench.cleaning(transformations=[], rules=rules), attempt=2)


def test_rows_that_break_a_rule_go_beside_with_their_reasons(bench: Bench) -> None:
    rules = [{"rule_id": "paid", "type": "range", "columns": ["price"], "minimum": "0", "threshold": 0.5}]
    done = bench.perform(bench.cleaning(transformations=[], rules=rules))

    assert done["prepared"]["manifest"]["rows"] == 2
    assert done["prepared"]["quarantine"]["rows"] == 1
    assert done["outcomes"][0]["failed"] == 1
    assert done["metrics"]["rejected_rows"] == 1


def test_rules_of_a_source_set_rows_aside_before_anything_reads_them(bench: Bench) -> None:
    rules = [{"rule_id": "paid", "type": "range", "columns": ["price"], "minimum": "0", "threshold": 0.5}]
    done = bench.perform(bench.cleaning(inputs={"raw": bench.source(rules=rules)}, transformations=[]))

    assert done["prepared"]["manifest"]["rows"] == 2
    assert [(each["rule_id"], each["failed"]) for each in done["outcomes"]] == [("paid", 1)]
    assert done["metrics"]["rejected_rows"] == 1


def test_rows_of_a_source_that_are_set_aside_are_kept_beside_those_of_the_stage(bench: Bench) -> None:
    """As JSON: their columns are the source's, and the stage's may have other types under the same names."""
    paid = {"rule_id": "paid", "type": "range", "columns": ["price"], "minimum": "0", "threshold": 0.1}
    cheap = {"rule_id": "cheap", "type": "custom", "expression": "price <> 'dear'", "threshold": 0.1}
    dear = {"name": "price", "expression": "CASE WHEN price > 3 THEN 'dear' ELSE 'cheap' END"}
    stage = bench.cleaning(
        inputs={"raw": bench.source(rules=[paid])},
        transformations=[{"type": "map", "map": {"columns": [dear]}}],
        rules=[cheap],
    )
    done = bench.perform(stage)
    aside = done["prepared"]["quarantine"]
    assert done["metrics"]["rejected_rows"] == aside["rows"] == 2
    assert [column["name"] for column in aside["columns"]] == [
        *(column["name"] for column in done["prepared"]["manifest"]["columns"]),
        *("_rules", "_reasons", "_input", "_row"),
    ]
    files = [str(Path(aside["aside"].removeprefix("file://")) / file["path"]) for file in aside["files"]]
    with duckdb.connect() as connection:
        query = "SELECT id, price, _rules, _input, _row FROM read_parquet($1) ORDER BY id NULLS FIRST"
        of_source, of_stage = connection.execute(query, [files]).fetchall()
    assert of_source[:4] == (None, None, ["paid"], "raw")
    assert json.loads(of_source[4])["price"] < 0
    assert of_stage[1:] == ("dear", ["cheap"], None, None)

    alone = bench.perform({**stage, "rules": []}, attempt=2)["prepared"]["quarantine"]
    assert (alone["rows"], alone["columns"]) == (1, aside["columns"]), "whichever rows there are"


def test_a_critical_rule_leaves_nothing_behind(bench: Bench) -> None:
    rules = [{"rule_id": "paid", "type": "range", "columns": ["price"], "minimum": "0", "severity": "critical"}]
    done = bench.perform(bench.cleaning(transformations=[], rules=rules))

    assert done["failed"]["kind"] == "rule"
    assert done["failed"]["field"] == "rules.paid"
    assert done["outcomes"][0]["breached"]
    assert "prepared" not in done
    assert not list(bench.datasets.rglob("*.parquet"))


def test_rows_are_handed_on_to_the_next_stage(bench: Bench) -> None:
    done = bench.perform(bench.cleaning(sink=None))
    assert done["output"]["rows"] == 2

    summed = {
        "id": "sum",
        "inputs": {"orders": {"stage": "clean"}},
        "transformations": [{"type": "custom", "custom": {"sql": "SELECT sum(price) AS total FROM orders"}}],
        "sink": {"type": "dataset", "dataset": "totals"},
    }
    given = [{"name": "orders", "output": done["output"]}]
    total = bench.perform(summed, inputs=given)
    parts = bench.perform(summed, inputs=given * 2, attempt=2)

    assert total["prepared"]["manifest"]["rows"] == 1
    assert total["prepared"]["manifest"]["columns"][0]["name"] == "total"
    assert parts["metrics"]["bytes_read"] == 2 * total["metrics"]["bytes_read"]


def test_a_place_that_has_a_name_is_that_dataset(bench: Bench) -> None:
    folder = str(bench.folder / "out")
    named = {"raw": bench.source(id="crm-orders")}
    sink = {"type": "file_system", "path": folder, "id": "reports"}
    rules = [{"rule_id": "paid", "type": "range", "columns": ["price"], "minimum": "0", "threshold": 0.5}]
    done = bench.perform(bench.cleaning(inputs=named, sink=sink, transformations=[], rules=rules))["prepared"]
    assert [(each["dataset_id"], each["location"]) for each in done["inputs"]] == [("crm-orders", str(bench.csv))]
    assert done["quarantine"]["base"].endswith("/reports.quarantine")
    for kind in (DataSource, DataSink):
        with pytest.raises(ValidationError, match="whose dataset names it; leave it out"):
            kind.model_validate({"type": "dataset", "dataset": "orders", "id": "reports"})


def test_lineage_goes_through_what_stages_hand_on(bench: Bench) -> None:
    """A stage without a sink is no dataset: what is made of its rows is made of what it has read."""
    priced = {"type": "custom", "custom": {"sql": "SELECT id, price * 2 AS twice FROM raw"}}
    first = bench.perform(bench.cleaning(sink=None, transformations=[priced]))["output"]
    given = [{"name": "orders", "output": first}]
    kept = {"id": "keep", "inputs": {"orders": {"stage": "clean"}}}
    second = bench.perform({**kept, "transformations": [_custom("SELECT id, twice FROM orders")]}, inputs=given)
    summed = {
        "id": "sum",
        "inputs": {"kept": {"stage": "keep"}, "orders": {"stage": "clean"}, "raw": bench.source()},
        "transformations": [
            _custom(
                "SELECT raw.item, kept.twice AS t, orders.id AS i FROM raw JOIN kept USING (id) JOIN orders USING (id)"
            )
        ],
        "sink": {"type": "dataset", "dataset": "totals"},
    }
    done = bench.perform(summed, inputs=[{"name": "kept", "output": second["output"]}, *given])["prepared"]

    assert [(each["name"], each["location"]) for each in done["inputs"]] == [("raw", str(bench.csv))]
    assert {(edge["column"], edge["dataset"], edge["source"]) for edge in done["lineage"]["columns"]} == {
        ("item", "raw", "item"),
        ("t", "raw", "price"),
        ("i", "raw", "id"),
    }
    alone = bench.perform(
        {**summed, "inputs": {"kept": {"stage": "keep"}}, "transformations": [_custom("SELECT twice FROM kept")]},
        inputs=[{"name": "kept", "output": second["output"]}],
        attempt=2,
    )["prepared"]
    assert [each["name"] for each in alone["inputs"]] == ["kept.orders.raw"]
    assert alone["lineage"]["columns"] == [{"column": "twice", "dataset": "kept.orders.raw", "source": "price"}]


def test_lineage_that_is_too_wide_is_handed_on_by_tables() -> None:
    edges = [{"column": f"c{n}", "dataset": "raw", "source": "id"} for n in range(MOST_HANDED_ON + 1)]
    lineage = LineageEdges.model_validate({"columns": edges, "tables": ["raw"]})
    given = Origins((LineageInput(name="raw", location="/data/raw.csv"),), lineage).handed_on()["lineage"]
    assert isinstance(given, LineageEdges)
    assert (given.columns, given.tables) == ((), ("raw",))
    assert given.unresolved.startswith("there are 1001 edges between columns")


def test_a_stage_whose_input_was_skipped_says_so(bench: Bench) -> None:
    with pytest.raises(StageError, match=r"inputs\.orders\.stage: clean has handed on nothing"):
        bench.perform({"id": "sum", "inputs": {"orders": {"stage": "clean"}}})


def test_a_stage_without_anything_is_done_at_once(bench: Bench) -> None:
    assert "output" in bench.perform({})


def test_a_source_that_is_not_there_is_named(bench: Bench) -> None:
    bench.csv.unlink()
    with pytest.raises(StageError, match=r"inputs\.raw\.path"):
        bench.perform(bench.cleaning())


def test_nothing_that_is_not_declared_can_be_read(bench: Bench) -> None:
    (bench.folder / "secret.csv").write_text("a\n1\n")
    reading = {"type": "custom", "custom": {"sql": f"SELECT * FROM read_csv('{bench.folder}/secret.csv')"}}
    with pytest.raises(StageError):
        bench.perform(bench.cleaning(transformations=[reading]))


def test_a_parameter_has_its_type(bench: Bench) -> None:
    least = {"type": "filter", "filter": {"where": "price >= $least"}}
    specs = {"least": {"type": "integer"}}
    done = bench.perform(bench.cleaning(transformations=[least]), parameters={"least": "5"}, parameter_specs=specs)
    assert done["prepared"]["manifest"]["rows"] == 1


def test_nothing_is_left_of_a_stage_in_scratch(bench: Bench) -> None:
    bench.perform(bench.cleaning())
    assert list((bench.folder / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"timeout_seconds": 7.0}, True),
        ({"transformations": []}, False),
        ({"parameters": {"day": "2026-05-09"}}, False),
        ({"engine": {"engine": "spark"}}, False),
        ({"engine": {"spark": {"settings": {"spark.sql.session.timeZone": "UTC"}}}}, False),
    ],
)
def test_the_key_of_a_stage_changes_with_what_its_rows_follow_from(
    bench: Bench, changed: dict[str, Any], same: bool
) -> None:
    def key(parameters: dict[str, str] | None = None, engine: dict[str, Any] | None = None, **more: Any) -> str:
        bench.engine = engine or {}
        done = bench.perform(
            bench.cleaning(cache="content", **more),
            "resolve",
            parameters=parameters or {},
            parameter_specs={name: {} for name in parameters or ()},
        )
        return str(done["resolved"]["cache_key"])

    before = key()
    assert (key(**changed) == before) is same
    bench.csv.write_text(ORDERS + "4,plum,7\n")
    assert key() != before


SUMMED = {"type": "custom", "custom": {"sql": "SELECT $task AS task, sum(price) AS total FROM raw"}}


def test_a_stage_is_done_for_each_row_of_an_input(bench: Bench) -> None:
    tasks = bench.cleaning(sink=None, transformations=[SUMMED], for_each={"input": "orders"})
    handed_on = bench.perform(bench.cleaning(sink=None, transformations=[]))["output"]
    tasks["inputs"]["orders"] = {"stage": "load"}
    given = [{"name": "orders", "output": handed_on}]
    joined = {"type": "custom", "custom": {"sql": "SELECT $task AS task, price FROM orders"}}
    tasks["transformations"] = [joined]

    assert bench.perform(tasks, "resolve", inputs=given)["resolved"] == {"count": 3}
    done = bench.perform(tasks, inputs=given, first_task=1, last_task=2)
    assert done["output"]["rows"] == 2
    again = {"inputs": {"of": {"stage": "clean"}}, "transformations": [_custom("SELECT sum(price) AS p FROM of")]}
    total = bench.perform(
        {"id": "sum", **again, "sink": {"type": "dataset", "dataset": "clean-orders"}},
        inputs=[{"name": "of", "output": done["output"]}],
    )
    assert total["prepared"]["manifest"]["rows"] == 1


def _custom(sql: str) -> dict[str, Any]:
    return {"type": "custom", "custom": {"sql": sql}}


def test_a_stage_is_done_for_each_text(bench: Bench) -> None:
    tasks = bench.cleaning(sink=None, for_each={"items": ["apple", "fig"]})
    tasks["transformations"] = [_custom("SELECT price FROM raw WHERE item = $item")]

    assert bench.perform(tasks, "resolve")["resolved"] == {"count": 2}
    assert bench.perform(tasks, first_task=0, last_task=1)["output"]["rows"] == 2


def test_a_task_that_fails_keeps_no_other_from_its_work(bench: Bench) -> None:
    tasks = bench.cleaning(sink=None, for_each={"count": 3})
    tasks["transformations"] = [_custom("SELECT CASE WHEN $task = 1 THEN error('one is wrong') ELSE 'x' END AS a")]
    done = bench.perform(tasks, first_task=0, last_task=2)

    assert done["failed_tasks"] == [1]
    assert "task 1" in done["failed"]["field"]
    assert "one is wrong" in done["failed"]["problem"]
    assert done["output"]["rows"] == 2


def test_ten_thousand_tasks_without_work_take_no_time_each(bench: Bench) -> None:
    done = bench.perform({"for_each": {"count": 10_000}}, first_task=0, last_task=9_999)
    assert done["failed_tasks"] == []


def test_a_function_of_the_pipelines_code_is_called(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.folder / "cleaning_code.py").write_text(
        "import narwhals as nw\n\n\ndef cheap(raw, most):\n    return raw.filter(nw.col('price') <= most)\n"
    )
    monkeypatch.syspath_prepend(str(bench.folder))
    function = {"type": "custom", "custom": {"python": {"module": "cleaning_code", "function": "cheap"}}}
    specs = {"most": {"type": "integer"}}
    done = bench.perform(bench.cleaning(transformations=[function]), parameters={"most": "3"}, parameter_specs=specs)
    assert done["prepared"]["manifest"]["rows"] == 2


def test_a_stage_hands_on_what_a_function_returns_that_is_no_table(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.folder / "telling_code.py").write_text(
        "def highest(raw):\n    return {'highest': raw.to_pydict()['price'][-1]}\n"
    )
    monkeypatch.syspath_prepend(str(bench.folder))
    python = {"module": "telling_code", "function": "highest", "frame": "arrow"}
    telling = bench.cleaning(sink=None, transformations=[{"type": "custom", "custom": {"python": python}}])
    done = bench.perform(telling)
    assert (done["output"]["value"], done["output"]["rows"], done["output"]["inline"]) == ('{"highest": 5}', 0, "")
    assert done["metrics"]["rows_read"] == 3

    reading = {"inputs": {"told": {"stage": "clean"}}, "transformations": [_custom("SELECT * FROM told")]}
    with pytest.raises(StageError, match="it has handed on no rows"):
        bench.perform(reading, inputs=[{"name": "told", "output": done["output"]}])
    rules = [{"rule_id": "there", "type": "completeness", "columns": ["value"]}]
    for more in ({"sink": {"type": "dataset", "dataset": "highest"}}, {"rules": rules}):
        with pytest.raises(StageError, match=r"gave builtins\.dict"):
            bench.perform({**telling, **more})
    tasks = bench.perform({**telling, "for_each": {"count": 1}}, first_task=0)
    assert "gave builtins.dict" in tasks["failed"]["problem"]


def test_a_failure_has_no_value_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").write_text('{"access_key_id": "AKIA-plain", "secret_access_key": "hidden/value"}\n')
    (tmp_path / "token").write_text("t0ken-of-web\n")
    monkeypatch.setenv("FORGELOG_SECRETS", str(tmp_path))
    error = ValueError("GET https://h/?k=hidden/value with t0ken-of-web by AKIA-plain: 403")
    assert failure_of(error)["problem"] == "ValueError: GET https://h/?k=*** with *** by ***: 403"


def test_the_failure_of_a_function_has_the_lines_of_the_users_code(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.folder / "broken_code.py").write_text("def clean(raw):\n    return raw / 0\n")
    monkeypatch.syspath_prepend(str(bench.folder))
    function = {"type": "custom", "custom": {"python": {"module": "broken_code", "function": "clean"}}}
    with pytest.raises(StageError) as raised:
        bench.perform(bench.cleaning(transformations=[function]))

    failure = failure_of(raised.value)
    assert failure["field"] == "transformations[0].custom.python.function"
    assert "return raw / 0" in failure["traceback"]


@pytest.mark.parametrize("sink", [{"partition_by": ["price"]}, {"format": {"type": "csv"}}])
def test_a_column_that_the_contract_requires_has_a_value_in_each_row(bench: Bench, sink: dict[str, Any]) -> None:
    """Whatever is written of the rows in the end, and also where a column is a part of folders' names."""
    where = {"type": "file_system", "path": str(bench.folder / "out"), **sink}
    some = "[NULL, id]" if "format" not in sink else "item"
    columns = [
        {"name": "price", "expression": "nullif(price, 5)"},
        {"name": "parts", "expression": f"CASE WHEN id > 1 THEN {some} END"},
    ]
    stage = bench.cleaning(sink=where, transformations=[{"type": "map", "map": {"columns": columns}}])
    bench.required = ["id", "nowhere"]
    done = bench.perform(stage)["prepared"]["manifest"]
    assert [column["name"] for column in done["columns"] if not column["nullable"]] == ["id"]
    for name in ("price", "parts"):
        bench.required = ["id", name]
        with pytest.raises(StageError) as refused:
            bench.perform(stage, attempt=2)
        assert refused.value.field == f"contract.columns.{name}"
        assert refused.value.problem == "1 of 3 rows have no value, and the dataset's contract says nullable: false"
    assert not list((bench.folder / ".out.forgelog").glob("daily.7.clean.2"))


COUNTING = """
import pyarrow.compute as pc
seen = []
def keyed(ids):
    seen.append(len(ids))
    return pc.add(ids, 0)
"""


@pytest.mark.parametrize(
    "more",
    [
        {"sink": {"type": "dataset", "dataset": "clean-orders", "mode": "upsert", "keys": ["key"]}},
        {"sink": {"type": "dataset", "dataset": "clean-orders", "partition_by": ["key"]}},
        {"rules": [{"rule_id": "there", "type": "completeness", "columns": ["key"]}]},
    ],
)
def test_each_row_is_computed_once(bench: Bench, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    """So what is looked at before it is written is what is written, also where a query gives other rows each time."""
    name = f"counting_code_{next(iter(more))}_{'keys' in str(more)}"
    (bench.folder / f"{name}.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(str(bench.folder))
    column = {"name": "key", "expression": "keyed(id)"}
    udf = {"name": "keyed", "module": name, "function": "keyed", "arguments": ["BIGINT"], "returns": "BIGINT"}
    done = bench.perform(
        bench.cleaning(transformations=[{"type": "map", "map": {"columns": [column]}, "udfs": [udf]}], **more)
    )
    assert done["prepared"]["manifest"]["rows"] == 3
    assert sum(importlib.import_module(name).seen) == 3


def test_a_row_that_fails_a_stage_with_rules_is_its_transformations_fault(bench: Bench) -> None:
    column = {"name": "id", "expression": "CAST(item AS BIGINT)"}
    rules = [{"rule_id": "there", "type": "completeness", "columns": ["id"]}]
    with pytest.raises(StageError, match=r"^transformations\[0\]: .*apple"):
        bench.perform(bench.cleaning(transformations=[{"type": "map", "map": {"columns": [column]}}], rules=rules))


def test_what_has_too_many_files_for_an_event_is_published_from_the_list_in_an_object(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectFolder(bench.folder / "objects")
    store.folder.mkdir()
    monkeypatch.setattr(StageJob, "objects", lambda _: store)
    monkeypatch.setattr(manifests, "MAX_MANIFEST_BYTES", 1_500)
    rule = {"rule_id": "cheap", "type": "range", "columns": ["price"], "maximum": "8", "threshold": 0.1}
    sink = {"type": "dataset", "dataset": "clean-orders", "partition_by": ["item"]}
    few = bench.cleaning(sink=sink)
    many = {**few, "transformations": [], "rules": [rule]}

    told = bench.perform(few)["prepared"]["manifest"]
    assert (len(told["files"]), told["files_object"]) == (2, None)
    assert list(store.folder.iterdir()) == []

    bench.csv.write_text("id,item,price\n" + "".join(f"{n},item-{n},{n}\n" for n in range(12)))
    prepared = bench.perform(many, attempt=2)["prepared"]
    told, beside = prepared["manifest"], prepared["quarantine"]
    assert (told["files"], told["rows"], len(beside["files"]), beside["rows"]) == ([], 9, 1, 3)
    assert [path.name for path in store.folder.iterdir()] == [told["files_object"]["digest"]]
    for already in (False, True):
        done = bench.perform(many, "publish", attempt=2, manifest=told, quarantine=beside, dataset_version=1)
        assert done["published"]["already"] is already
    assert [row[0] for row in bench.published()] == [*range(9)]
