"""Both engines give the same, or Spark refuses. Needs pyspark (the extra ``spark``) and a JDK.

FORGELOG_TEST_SPARK=connect runs it through a server of Spark Connect, which pyspark starts in this process's JVM.
FORGELOG_TEST_TPCH: the factor of TPC-H's tables (0.01).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("pyspark", reason="the extra `spark` is not installed: uv sync --extra spark")

import narwhals as nw
import pyarrow.compute as pc
from pyspark.errors import PySparkException

from bench.tpch import tables
from bench.tpch_queries import QUERIES as TPCH
from bench.tpch_queries import READS
from forgelog.pipelines.engine import compile_transformations, describe, lock, open_connection
from forgelog.pipelines.engine.portable import SETTINGS
from forgelog.pipelines.engine.spark import open_session, run_plan
from forgelog.pipelines.engine.spark.sessions import java_home
from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.portable_cases import AGGREGATES, QUERIES, ROWS, VALUES, WINDOWS
from tests.unit.pipelines.staging import Stage, chain, columns

FACTOR = os.environ.get("FORGELOG_TEST_TPCH", "0.01")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    scratch = tmp_path_factory.mktemp("spark")
    if os.environ.get("FORGELOG_TEST_SPARK") == "connect":
        os.environ["JAVA_HOME"] = str(java_home())
        os.environ["PYSPARK_PYTHON"] = sys.executable
        made = open_session(remote="local[2]", scratch=scratch)
    else:
        made = open_session(cores=2, memory_bytes=1 << 30, scratch=scratch)
    yield made
    made.stop()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, {"t": ROWS})


def comparable(rows: list[tuple[Any, ...]], *, ordered: bool) -> list[Any]:
    """Rows whose DOUBLE values are equal if they differ in the last digits only."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            if math.isnan(value):
                return "NaN"
            return value if math.isinf(value) else float(f"{value:.12g}") + 0.0
        return value

    found = [tuple(plain(value) for value in row) for row in rows]
    return found if ordered else sorted(found, key=repr)


def both(session: Any, stage: Stage, sql: str) -> None:
    """Runs a query as a stage on both engines, and compares their columns and rows."""
    plan = compile_transformations(chain({"id": "r", "custom": {"sql": sql}}), ("t",), stage.schemas, {})
    expected = stage.connection.execute(plan.sql).fetchall()
    ran = run_plan(session, stage.connection, plan, scratch=stage.scratch)
    ordered = "ORDER BY" in sql.partition(" OVER ")[0]
    assert comparable(stage.query(ran.relation), ordered=ordered) == comparable(expected, ordered=ordered)


def test_values_of_rows(session: Any, stage: Stage) -> None:
    listed = ", ".join(f"{text} AS c{nth}" for nth, text in enumerate(VALUES))
    plan = compile_transformations(
        chain({"id": "r", "custom": {"sql": f"SELECT k, {listed} FROM t"}}), ("t",), stage.schemas, {}
    )
    expected = comparable(stage.connection.execute(plan.sql).fetchall(), ordered=False)
    ran = run_plan(session, stage.connection, plan, scratch=stage.scratch)
    got = comparable(stage.query(ran.relation), ordered=False)
    names = ["k", *VALUES]
    different = {
        names[nth]: [(one[nth], other[nth]) for one, other in zip(expected, got, strict=True) if one[nth] != other[nth]]
        for nth in range(len(names))
    }
    assert {name: pairs for name, pairs in different.items() if pairs} == {}


def test_values_of_groups(session: Any, stage: Stage) -> None:
    listed = ", ".join(f"{text} AS c{nth}" for nth, text in enumerate(AGGREGATES))
    both(session, stage, f"SELECT z, {listed} FROM t WHERE k <> 4 GROUP BY z")


def test_values_of_no_rows(session: Any, stage: Stage) -> None:
    listed = ", ".join(f"{text} AS c{nth}" for nth, text in enumerate(AGGREGATES))
    both(session, stage, f"SELECT {listed} FROM t WHERE k > 100")


def test_values_of_windows(session: Any, stage: Stage) -> None:
    listed = ", ".join(f"{text} AS c{nth}" for nth, text in enumerate(WINDOWS))
    both(session, stage, f"SELECT k, {listed} FROM t")


@pytest.mark.parametrize("sql", QUERIES)
def test_queries(session: Any, stage: Stage, sql: str) -> None:
    both(session, stage, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT g, avg(p) AS a, avg(DISTINCT p) AS d, avg(p) FILTER (WHERE p > 9) AS f, "
        "avg(p) FILTER (WHERE p < 0) AS n, avg(q) AS q, avg(b) AS b, 1 / avg(p) AS r "
        "FROM (SELECT *, p * 0.07 AS q FROM t) GROUP BY g ORDER BY g",
        "SELECT DISTINCT g, avg(p) OVER (PARTITION BY g) AS w, avg(p) FILTER (WHERE p > 9) OVER () AS f FROM t "
        "ORDER BY g",
    ],
)
def test_averages_add_up_decimals_exactly(session: Any, tmp_path: Path, sql: str) -> None:
    """Sums of DOUBLE would differ in their last digits, the more the more rows there are."""
    rows = "SELECT n % 2 AS g, ((n * 7919) % 99991 / 100)::DECIMAL(15, 2) AS p, n << 42 AS b FROM range(200000) AS r(n)"
    stage = Stage(tmp_path, {"t": rows})
    plan = stage.plan({"custom": {"sql": sql}})
    expected = stage.connection.execute(plan.sql).fetchall()
    got = stage.query(run_plan(session, stage.connection, plan, scratch=stage.scratch).relation)
    near = [tuple(each if each is None else pytest.approx(each, rel=4e-16, abs=0) for each in row) for row in expected]
    assert (len(got), got) == (2, near)


CHAIN = (
    {"id": "joined", "input": "orders", "join": {"right": "customers", "using": ["customer"], "type": "left"}},
    {"map": {"columns": [{"name": "amount", "expression": "price * $rate"}], "rename": [{"name": "city", "to": "at"}]}},
    {"filter": {"where": "amount > 1"}, "cache": "memory"},
    {
        "window": {
            "partition_by": ["at"],
            "order_by": [{"expression": "amount", "descending": True}, {"expression": "id"}],
            "columns": [{"name": "place", "expression": "row_number()"}],
            "keep": "place <= 2",
        },
        "hints": {"repartition": {"partitions": 3, "columns": ["at"]}},
    },
    {"aggregate": {"group_by": ["at"], "columns": [{"name": "total", "expression": "sum(amount)"}]}, "cache": "disk"},
    {"sort": {"by": [{"expression": "total", "descending": True}], "limit": 5}},
)


def shop(tmp_path: Path, **functions: Any) -> Stage:
    orders = (
        "SELECT n AS id, 'c' || (n % 7) AS customer, (n * 13 % 50)::DECIMAL(9, 2) / 4 AS x, "
        "(n * 13 % 50)::DECIMAL(9, 2) AS price FROM range(60) AS r(n)"
    )
    customers = (
        "SELECT 'c' || n AS customer, CASE WHEN n < 3 THEN 'Bern' ELSE 'Basel' END AS city FROM range(5) AS r(n)"
    )
    return Stage(tmp_path, {"orders": orders, "customers": customers}, functions)


def test_transformations_of_each_type(session: Any, tmp_path: Path) -> None:
    stage = shop(tmp_path)
    expected = stage.rows(*CHAIN, rate=Decimal("0.15"))
    other = shop(tmp_path / "other")
    ran = run_plan(session, other.connection, other.plan(*CHAIN, rate=Decimal("0.15")), scratch=other.scratch)
    assert other.query(ran.relation) == expected
    assert len(expected) == 3


@pytest.mark.skipif(os.environ.get("FORGELOG_TEST_SPARK") != "connect", reason="the plans of Spark Connect")
def test_what_is_kept_is_let_go_of_also_when_spark_has_forgotten_its_plan(session: Any, tmp_path: Path) -> None:
    """A server of Spark Connect remembers the plans it analyzed lately, and analyzes others again."""
    stage, remembers = shop(tmp_path), "spark.connect.session.planCache.enabled"
    expected = stage.rows(*CHAIN, rate=Decimal("0.15"))
    other = shop(tmp_path / "other")
    session.conf.set(remembers, "false")
    try:
        ran = run_plan(session, other.connection, other.plan(*CHAIN, rate=Decimal("0.15")), scratch=other.scratch)
        assert other.query(ran.relation) == expected
        assert [view.name for view in session.catalog.listTables() if view.isTemporary] == []
    finally:
        session.conf.unset(remembers)


def test_a_broadcast_join(session: Any, tmp_path: Path) -> None:
    stage = shop(tmp_path)
    join = {
        "input": "orders",
        "join": {"right": "customers", "using": ["customer"]},
        "hints": {"broadcast": ["customers"]},
    }
    plan = stage.plan(join, {"aggregate": {"columns": [{"name": "n", "expression": "count(*)"}]}})
    assert stage.query(run_plan(session, stage.connection, plan, scratch=stage.scratch).relation) == [(44,)]


def python(function: str, **settings: Any) -> dict[str, Any]:
    return {
        "id": function,
        "input": "orders",
        "custom": {"python": {"module": "code", "function": function, **settings}},
    }


@pytest.mark.parametrize("frame", ["narwhals", "arrow", "pandas", "polars", "spark"])
def test_functions_get_frames_and_give_them(session: Any, tmp_path: Path, frame: str) -> None:
    def few(orders: Any, least: int) -> Any:
        if frame == "arrow":
            return orders.filter(pc.greater_equal(orders["id"], least))
        if frame == "pandas":
            return orders[orders.id >= least]
        if frame == "spark":
            return orders.where(orders.id >= least)
        frame_ = nw.from_native(orders) if frame == "polars" else orders
        return frame_.filter(nw.col("id") >= least)

    stage = shop(tmp_path, few=few)
    plan = stage.plan(
        python("few", frame=frame), {"map": {"keep": ["id"]}}, {"sort": {"by": [{"expression": "id"}]}}, least=58
    )
    ran = run_plan(session, stage.connection, plan, stage.function, scratch=stage.scratch)
    assert stage.query(ran.relation) == [(58,), (59,)]


def test_the_last_function_may_give_a_plain_value(session: Any, tmp_path: Path) -> None:
    stage = shop(tmp_path, many=lambda orders: orders.count())
    plan = stage.plan(python("many", frame="spark"))
    ran = run_plan(session, stage.connection, plan, stage.function, scratch=stage.scratch, values=True)
    assert (ran.value, stage.query(ran.relation)) == ("60", [("60",)])
    with pytest.raises(StageError, match=r"gave builtins\.int"):
        run_plan(session, stage.connection, plan, stage.function, scratch=stage.scratch)


def test_sparks_own_sql(session: Any, tmp_path: Path) -> None:
    stage = shop(tmp_path)
    step = {"id": "own", "custom": {"spark": "SELECT median(id) AS m, :day AS day FROM orders"}}
    ran = run_plan(session, stage.connection, stage.plan(step, day="today"), scratch=stage.scratch)
    assert stage.query(ran.relation) == [(29.5, "today")]


def plus(left: Any, right: Any) -> Any:
    return pc.add(pc.fill_null(left, 100), pc.fill_null(right, 100))


@pytest.mark.parametrize("handles_null", [True, False])
def test_sql_calls_functions_with_the_same_arrays(session: Any, tmp_path: Path, handles_null: bool) -> None:
    rows = "SELECT n, nullif(n, 2) AS m FROM range(4) AS r(n)"
    udf = {
        "name": "plus", "module": "code", "function": "plus", "arguments": ["BIGINT", "BIGINT"], "returns": "BIGINT",
        "handles_null": handles_null,
    }  # fmt: skip
    step = {"map": {"columns": [{"name": "r", "expression": "plus(n, m)"}]}, "udfs": [udf]}
    first = Stage(tmp_path, {"t": rows}, {"plus": plus})
    second = Stage(tmp_path / "second", {"t": rows}, {"plus": plus})
    ran = run_plan(session, second.connection, second.plan(step), second.function, scratch=second.scratch)
    assert sorted(second.query(ran.relation)) == sorted(first.rows(step))


@pytest.mark.parametrize(
    ("step", "field", "problem"),
    [
        ({"filter": {"where": "regexp_matches(customer, 'c')"}}, "transformations[0]", "not portable to Spark"),
        ({"custom": {"spark": "SELECT nothing FROM orders"}}, "transformations[0].custom.spark", "Spark says"),
        (python("none", frame="relation"), "transformations[0].custom.python.frame", "needs the engine duckdb"),
        ({"map": {"columns": [{"name": "u", "expression": "[id]"}]}}, "transformations[0]", "not portable to Spark"),
    ],
)
def test_a_refusal_names_the_transformation(
    session: Any, tmp_path: Path, step: dict[str, Any], field: str, problem: str
) -> None:
    stage = shop(tmp_path, none=lambda orders: orders)
    plan = stage.plan({"input": "orders", **step})
    with pytest.raises(StageError) as refusal:
        run_plan(session, stage.connection, plan, stage.function, scratch=stage.scratch)
    assert refusal.value.field.startswith(field)
    assert problem in refusal.value.problem


class Gone:
    """A session whose server is gone."""

    def __getattr__(self, name: str) -> Any:
        raise PySparkException("the server does not answer")


@pytest.mark.parametrize(
    ("broken", "field"), [({"read"}, "inputs.orders"), ({"sql"}, "transformations[0]"), ({"catalog"}, "")]
)
def test_what_spark_says_has_a_field_at_whatever_step(tmp_path: Path, broken: set[str], field: str) -> None:
    stage = shop(tmp_path)
    session = MagicMock(**dict.fromkeys(broken, Gone()))
    if "sql" in broken:  # of Spark Connect: the query is looked at when its view is made
        session.sql = MagicMock(return_value=MagicMock(toDF=MagicMock(return_value=Gone())))
    step = {"input": "orders", "map": {"keep": ["id"]}}
    with pytest.raises(StageError, match="Spark says: the server does not answer") as refusal:
        run_plan(session, stage.connection, stage.plan(step), scratch=stage.scratch)
    assert refusal.value.field == field


def test_sums_of_integers_go_in_and_come_back_as_hugeint(session: Any, tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"t": "SELECT 12345678901234567890123456789::HUGEINT AS h, 1 AS i"})
    step = {"aggregate": {"group_by": ["h"], "columns": [{"name": "s", "expression": "sum(i)"}]}}
    ran = run_plan(session, stage.connection, stage.plan(step), scratch=stage.scratch)
    assert stage.query(ran.relation) == [(12345678901234567890123456789, 1)]
    assert ran.plan.columns == columns("h HUGEINT, s HUGEINT")


def test_settings_that_results_depend_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^spark\.settings\.spark\.sql\.ansi\.enabled"):
        open_session(settings={"spark.sql.ansi.enabled": "false"}, scratch=tmp_path)


def test_a_session_has_the_settings(session: Any) -> None:
    assert {name: session.conf.get(name) for name in SETTINGS} == SETTINGS


@pytest.mark.parametrize("name", TPCH)
def test_tpch_has_the_same_rows_in_the_same_order(session: Any, tmp_path: Path, name: str) -> None:
    folder = tables(FACTOR)
    connection = open_connection(1 << 30, 2, tmp_path, [f"{folder}/"])
    for table in READS[name]:
        connection.execute(f"CREATE VIEW {table} AS FROM read_parquet('{folder}/{table}.parquet')")
    lock(connection)
    schemas = {table: describe(connection, table) for table in READS[name]}
    plan = compile_transformations(chain({"custom": {"sql": TPCH[name]}}), READS[name], schemas, {})
    expected = connection.execute(plan.sql).fetchall()
    ran = run_plan(session, connection, plan, scratch=tmp_path)
    got = connection.execute(f'FROM "{ran.relation}"').fetchall()
    assert comparable(got, ordered=True) == comparable(expected, ordered=True)
    assert describe(connection, ran.relation) == plan.columns
    assert expected


def test_executors_are_processes_with_a_secret_that_no_argument_shows(tmp_path: Path) -> None:
    """In a process of its own, since a session can't be opened with another master than the one before."""
    if os.environ.get("FORGELOG_TEST_SPARK") == "connect":
        pytest.skip("a server of Spark Connect has executors of its own")
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.pipelines.spark_executors", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:6000]
    assert json.loads(done.stdout.splitlines()[-1]) == {"executors": 2, "sum": 499500, "shown": 0, "mode": "0o600"}
    assert not list(tmp_path.glob("spark-home-*"))
