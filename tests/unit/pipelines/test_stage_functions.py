"""Functions of the pipeline's code as transformations, and as functions that SQL calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from forgelog.pipelines.engine import run_plan
from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.staging import Stage, columns

NUMBERS = "SELECT n::INTEGER AS n, 'k' || (n % 2) AS k FROM range(4) AS r(n)"


def python(function: str, **settings: Any) -> dict[str, Any]:
    return {"custom": {"python": {"module": "code", "function": function, **settings}}}


def staged(tmp_path: Path, **functions: Any) -> Stage:
    return Stage(tmp_path, {"numbers": NUMBERS, "other": "FROM (VALUES (2, 'two')) AS o(n, word)"}, functions)


def doubled(numbers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return numbers.with_columns(twice=nw.col("n") * 2)


def test_a_lazy_frame_stays_a_query_that_later_ones_read(tmp_path: Path) -> None:
    stage = staged(tmp_path, doubled=doubled)
    ran = stage.ran({"id": "d", **python("doubled")}, {"filter": {"where": "twice > 2"}})
    assert stage.query(ran.relation) == [(2, "k0", 4), (3, "k1", 6)]
    assert '"n" * 2' in ran.given["d"]
    assert ran.plan.columns == columns("n INTEGER, k VARCHAR, twice INTEGER")


@pytest.mark.parametrize(
    ("frame", "kind"),
    [("arrow", pa.Table), ("reader", pa.RecordBatchReader), ("polars", pl.LazyFrame)],
)
def test_each_frame_goes_in_and_comes_back(tmp_path: Path, frame: str, kind: type) -> None:
    seen: list[Any] = []

    def same(numbers: Any) -> Any:
        seen.append(numbers)
        return numbers

    assert len(staged(tmp_path, same=same).rows(python("same", frame=frame))) == 4
    assert isinstance(seen[0], kind)


def test_a_reader_is_read_once_though_its_relation_is_read_twice(tmp_path: Path) -> None:
    def batches(numbers: pa.RecordBatchReader) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(numbers.schema, iter(numbers))

    rows = staged(tmp_path, batches=batches).rows(
        {"id": "b", **python("batches", frame="reader")},
        {"custom": {"sql": "SELECT (SELECT count(*) FROM b) AS x, (SELECT count(*) FROM b) AS y"}},
    )
    assert rows == [(4, 4)]


def test_a_pandas_frame_is_taken(tmp_path: Path) -> None:
    stage = staged(tmp_path, frame=lambda numbers: numbers[numbers.n > 2])
    assert stage.rows(python("frame", frame="pandas")) == [(3, "k1")]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ([{"a": 1}, {"a": 2, "b": "x"}], [(1, None), (2, "x")]),
        (["p", "q"], [("p",), ("q",)]),
    ],
)
def test_a_list_is_rows_or_one_column(tmp_path: Path, result: Any, expected: Any) -> None:
    assert staged(tmp_path, listed=lambda: result).rows(python("listed")) == expected


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (7, "7"),
        (False, "false"),
        (0.5, "0.5"),
        ("late", '"late"'),
        ({"n": [1, None]}, '{"n": [1, null]}'),
        (pl.DataFrame({"n": [1, 2]}).to_numpy().sum(), "3"),
    ],
)
def test_the_last_function_may_give_a_plain_value(tmp_path: Path, result: Any, value: str) -> None:
    stage = staged(tmp_path, told=lambda _: result)
    ran = run_plan(stage.connection, stage.plan(python("told")), stage.function, values=True)
    assert ran.value == value
    assert stage.query(ran.relation) == [(value,)]
    then = {"filter": {"where": "value <> ''"}}
    with pytest.raises(StageError, match="gave"):
        run_plan(stage.connection, stage.plan({"id": "d", **python("told")}, then), stage.function, values=True)


def deep(levels: int) -> dict[str, Any]:
    """A dict in a dict, and so on."""
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({"at": object()}, "gave a value that is no JSON: Object of type object"),
        (float("nan"), "gave a value that is no JSON"),
        ("x" * 16_384, "gave a value of 16,386 characters as JSON, and at most 16,384 are handed on"),
        (deep(3_000), "gave a value that is nested too deeply"),
        (None, "gave nothing back"),
    ],
)
def test_a_value_is_json_of_some_size(tmp_path: Path, result: Any, problem: str) -> None:
    stage = staged(tmp_path, told=lambda: result)
    with pytest.raises(StageError, match=problem):
        run_plan(stage.connection, stage.plan(python("told")), stage.function, values=True)


def test_arguments_are_relations_then_the_transformations_parameters_then_the_pipelines(tmp_path: Path) -> None:
    def joined(numbers: Any, other: Any, least: int, word: str = "none") -> Any:
        found = numbers.join(other, on="n").filter(nw.col("n") >= least)
        return found.with_columns(word=nw.lit(word))

    step = {**python("joined"), "parameters": {"least": 2}}
    assert staged(tmp_path, joined=joined).rows(step, least=9) == [(2, "k0", "none")]
    assert staged(tmp_path / "second", joined=joined).rows(step, least=9, word="said") == [(2, "k0", "said")]


def test_a_first_argument_of_any_name_is_what_the_transformation_reads(tmp_path: Path) -> None:
    stage = staged(tmp_path, same=lambda frame, day: frame.filter(nw.col("n") == day))
    assert stage.rows({"input": "numbers", "filter": {"where": "n > 0"}}, python("same"), day=1) == [(1, "k1")]


def test_declared_columns_are_checked_before_and_after_it_runs(tmp_path: Path) -> None:
    declared = [{"name": "n", "type": "INTEGER"}, {"name": "k", "type": "VARCHAR"}]
    stage = staged(tmp_path, doubled=doubled)
    step = {"id": "d", **python("doubled", columns=declared)}
    with pytest.raises(StageError, match=r'transformations\[1\].filter: .*"twice" not found'):
        stage.plan(step, {"filter": {"where": "twice > 2"}})
    with pytest.raises(StageError) as refusal:
        stage.ran(step)
    assert refusal.value.field == "transformations[0].custom.python.columns"
    assert "which has n INTEGER, k VARCHAR, twice INTEGER" in refusal.value.problem


def test_what_follows_undeclared_columns_is_checked_once_they_are_known(tmp_path: Path) -> None:
    stage = staged(tmp_path, doubled=doubled)
    steps = ({"id": "d", **python("doubled")}, {"filter": {"where": "thrice > 2"}})
    assert not stage.plan(*steps).complete
    with pytest.raises(StageError, match=r'transformations\[1\].filter: .*"thrice" not found'):
        stage.ran(*steps)


def raising(numbers: Any) -> Any:
    raise KeyError(f"no such thing in {type(numbers).__name__}")


@pytest.mark.parametrize(
    ("function", "field", "problem"),
    [
        ("nothing", "custom.python.function", "code has no nothing"),
        ("raising", "custom.python.function", "raising raised KeyError: 'no such thing in"),
        ("empty", "custom.python.function", "gave nothing back"),
        ("odd", "custom.python.function", "gave builtins.int"),
        ("unknown", "custom.python.function", "its argument 'day' is no relation and no parameter"),
        ("mixed", "custom.python.function", "gave values that are no columns"),
    ],
)
def test_what_is_wrong_with_a_function_is_said_by_its_field(
    tmp_path: Path, function: str, field: str, problem: str
) -> None:
    stage = staged(
        tmp_path,
        raising=raising,
        empty=lambda: None,
        odd=lambda: 7,
        unknown=lambda numbers, day: numbers.filter(day),
        mixed=lambda: [1, "x"],
    )
    with pytest.raises(StageError) as refusal:
        stage.ran(python(function))
    assert refusal.value.field == f"transformations[0].{field}"
    assert problem in refusal.value.problem


def test_frames_of_spark_need_spark(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="needs the engine spark"):
        staged(tmp_path, doubled=doubled).ran(python("doubled", frame="spark"))


def udf(name: str, code: str, arguments: list[str], returns: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "module": "code", "function": code, "arguments": arguments, "returns": returns, **more}


def calling(expression: str, *functions: dict[str, Any], source: str = "numbers") -> dict[str, Any]:
    return {
        "input": source,
        "map": {"columns": [{"name": "x", "expression": expression}], "keep": ["x"]},
        "udfs": list(functions),
    }


class TestUserFunctions:
    def test_it_gets_arrays_and_gives_one(self, tmp_path: Path) -> None:
        stage = staged(tmp_path, plus=lambda a, b: pc.add(a, b))
        plus = udf("plus", "plus", ["INTEGER", "BIGINT"], "BIGINT")
        plan = stage.plan(calling("plus(n, n * 10)", plus))
        assert plan.columns == columns("x BIGINT")
        assert stage.rows(calling("plus(n, n * 10)", plus)) == [(0,), (11,), (22,), (33,)]

    def test_it_does_not_see_nulls_unless_it_handles_them(self, tmp_path: Path) -> None:
        seen = []

        def plus(a: Any, b: Any) -> Any:
            seen.append((a.null_count, b.null_count))
            return pc.add(pc.fill_null(a, 100), pc.fill_null(b, 100))

        nulls = "nullif(n, 1), nullif(n, 2)"
        plain = udf("plus_plain", "plus", ["INTEGER", "INTEGER"], "INTEGER")
        handling = udf("plus_nulls", "plus", ["INTEGER", "INTEGER"], "INTEGER", handles_null=True)
        assert staged(tmp_path, plus=plus).rows(calling(f"plus_plain({nulls})", plain)) == [
            (0,),
            (None,),
            (None,),
            (6,),
        ]
        assert seen == [(0, 0)]
        rows = staged(tmp_path / "second", plus=plus).rows(calling(f"plus_nulls({nulls})", handling))
        assert rows == [(0,), (101,), (102,), (6,)]

    @pytest.mark.parametrize(
        ("code", "problem"),
        [
            (raising, "f raised KeyError: 'no such thing in"),
            (lambda a: [len(a)], "f gave list"),
            (lambda a: a.slice(1), "f gave 3 values for 4 rows"),
        ],
    )
    def test_its_failure_is_told_in_its_own_words(self, tmp_path: Path, code: Any, problem: str) -> None:
        stage = staged(tmp_path, f=code)
        kept = {**calling("f(n)", udf("f", "f", ["INTEGER"], "INTEGER")), "cache": "memory"}
        with pytest.raises(StageError) as refusal:
            stage.ran(kept)
        assert problem in refusal.value.problem

    def test_a_name_of_duckdbs_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StageError, match=r"transformations\[0\].udfs\[0\].name: 'lower' is a function of DuckDB"):
            staged(tmp_path).plan(calling("lower(k)", udf("lower", "f", ["VARCHAR"], "VARCHAR")))

    def test_one_name_is_one_function(self, tmp_path: Path) -> None:
        first = calling("f(n)", udf("f", "f", ["INTEGER"], "INTEGER"))
        second = calling("f(n)", udf("f", "g", ["INTEGER"], "INTEGER"))
        with pytest.raises(StageError, match=r"transformations\[1\].udfs\[0\].name: 'f' is another function in"):
            staged(tmp_path).plan(first, second)

    def test_arguments_of_other_types_are_refused_without_data(self, tmp_path: Path) -> None:
        with pytest.raises(StageError, match=r"transformations\[0\].map: .*f"):
            staged(tmp_path).plan(calling("f(DATE '2026-01-01')", udf("f", "f", ["INTEGER"], "INTEGER")))
