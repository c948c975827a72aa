"""DuckDB's SQL as Spark's: what is refused, by which name. That the rest gives equal results is tested with Spark."""

from __future__ import annotations

import pytest

from forgelog.pipelines.engine.portable import refuse_types, spark_sql
from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.staging import columns

SCHEMA = columns("i INTEGER, b BIGINT, x DOUBLE, p DECIMAL(15,2), s VARCHAR, d DATE, ts TIMESTAMP, z BOOLEAN")


def translated(expression: str) -> str:
    return spark_sql(f"SELECT {expression} AS r FROM t", {"t": SCHEMA}, "transformations[0].map")


@pytest.mark.parametrize(
    "expression",
    [
        "regexp_replace(s, 'a', 'b')",
        "regexp_matches(s, 'a')",
        "upper(s)",
        "lower(s)",
        "s LIKE 'a\\%'",
        "s LIKE 'a!%' ESCAPE '!'",
        "s LIKE s",
        "substring(s, 0, 2)",
        "substring(s, -2)",
        "round(x)",
        "round(p, 1)",
        "floor(x)",
        "x % 2",
        "x // 2",
        "CAST(x AS VARCHAR)",
        "CAST(s AS DATE)",
        "CAST(s AS INTEGER)",
        "TRY_CAST(s AS INTEGER)",
        "i IN (SELECT b FROM t)",
        "CAST(x AS DECIMAL(9, 2))",
        "CAST(coalesce(x, p) AS INTEGER)",
        "ts - ts",
        "concat(s, i)",
        "first(s)",
        "any_value(s)",
        "list(i)",
        "median(x)",
        "quantile_cont(x, 0.5)",
        "string_agg(s)",
        "strftime(d, '%Y')",
        "epoch(ts)",
        "hash(s)",
        "random()",
        "now()",
        "nothing_known(s)",
        "[i]",
        "{'a': i}",
        "lag(i) IGNORE NULLS OVER (ORDER BY b)",
        "s SIMILAR TO 'a'",
        "s ILIKE 'a'",
    ],
)
def test_what_is_not_known_to_give_the_same_is_refused(expression: str) -> None:
    with pytest.raises(StageError) as refusal:
        translated(expression)
    assert refusal.value.field == "transformations[0].map"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a.i FROM t AS a ASOF JOIN t AS b ON a.s = b.s AND a.i >= b.i",
        "SELECT a.i FROM t AS a POSITIONAL JOIN t AS b",
        "FROM (PIVOT t ON s IN ('a', 'b') USING sum(i))",
        "SELECT i FROM t UNION ALL BY NAME SELECT b AS i FROM t",
        "SELECT i FROM t USING SAMPLE 10%",
        "SELECT DISTINCT ON (s) s, i FROM t ORDER BY s, i",
        "SELECT COLUMNS('i|b') FROM t",
        "SELECT i FROM t WHERE NOT (z AND i IN (SELECT b FROM t))",
        "SELECT i, sum(b) AS s FROM t GROUP BY ROLLUP (i)",
        "SELECT sum(i) OVER (ORDER BY b GROUPS 1 PRECEDING) AS s FROM t",
        "SELECT sum(i) OVER (ORDER BY b ROWS 1 PRECEDING EXCLUDE CURRENT ROW) AS s FROM t",
        "SELECT u FROM t, unnest([1, 2]) AS v(u)",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r",
    ],
)
def test_a_query_that_spark_reads_otherwise_is_refused(query: str) -> None:
    with pytest.raises(StageError):
        spark_sql(query, {"t": SCHEMA}, "transformations[0].custom.sql")


def test_the_refusal_says_what_to_do() -> None:
    with pytest.raises(StageError) as refusal:
        translated("median(x)")
    assert "MEDIAN" in refusal.value.problem.upper()
    assert refusal.value.remedy == "run the stage on the engine duckdb, or write custom.spark"


def test_averages_of_what_is_no_double_are_exact_sums_that_are_divided() -> None:
    assert translated("avg(x)") == "SELECT AVG(CAST(`t`.`x` AS DOUBLE)) AS `r` FROM `t` AS `t`"
    text = translated("avg(p) FILTER (WHERE z) OVER (PARTITION BY i)")
    rest = "FILTER(WHERE `t`.`z`) OVER (PARTITION BY `t`.`i`)"
    for part in (f"TRY_SUM(`t`.`p`) {rest}", f"SUM(CAST(`t`.`p` AS DOUBLE)) {rest}", f"COUNT(`t`.`p`) {rest}"):
        assert part in text
    assert "AVG" not in text


def test_the_pipelines_own_functions_are_called_by_their_names() -> None:
    text = spark_sql("SELECT clean(s) AS r FROM t", {"t": SCHEMA}, "f", {"clean"})
    assert "CLEAN(`t`.`s`)" in text.upper().replace("`T`.`S`", "`t`.`s`")


def test_broadcast_is_a_hint_where_the_relation_is_joined() -> None:
    schemas = {"t": SCHEMA, "small": columns("i INTEGER, n VARCHAR")}
    text = spark_sql("SELECT n FROM t JOIN small ON t.i = small.i", schemas, "f", broadcast=("small",))
    assert text.startswith("SELECT /*+ BROADCAST(small) */")


@pytest.mark.parametrize("kind", ["UUID", "TIME", "INTERVAL", "INTEGER[]", "STRUCT(a INTEGER)", "UBIGINT"])
def test_types_that_spark_has_not_are_refused_with_the_column(kind: str) -> None:
    with pytest.raises(StageError, match="column 'c' has the type"):
        refuse_types(columns(f"a INTEGER, c {kind}"), "inputs.raw")
