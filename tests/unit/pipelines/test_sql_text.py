"""What a piece of a user's SQL is found to be before it is put into a query."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgelog.pipelines.engine.literals import literal
from forgelog.pipelines.engine.sql import expression, query, type_name
from forgelog.pipelines.problems import StageError


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("SELECT 1", ()),
        ("SELECT * FROM Orders o JOIN customers USING (id)", ("orders", "customers")),
        ("WITH a AS (SELECT 1) SELECT * FROM a, b WHERE x IN (SELECT y FROM c)", ("b", "c")),
        ("WITH a AS (FROM b), b AS (FROM a) FROM b", ("b",)),
        ("WITH RECURSIVE a AS (SELECT 1 x UNION ALL SELECT x + 1 FROM a) FROM a", ()),
        ("FROM (WITH orders AS (SELECT 1) FROM orders), orders", ("orders",)),
        ("SELECT * FROM (PIVOT sales ON year IN (2025, 2026) USING sum(total))", ("sales",)),
        ("SELECT * FROM range(3), unnest([1, 2]), (VALUES (1)) AS v(x)", ()),
    ],
)
def test_a_query_reads_the_relations_that_it_does_not_define_itself(text: str, reads: tuple[str, ...]) -> None:
    assert query(text, "sql").reads == reads


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("SELEC 1", "is no SQL"),
        ("SELECT 1; SELECT 2", "has 2 statements"),
        ("SELECT 1;", "ends with a semicolon"),
        ("INSERT INTO orders VALUES (1)", "is no SELECT"),
        ("COPY orders TO 'x'", "is no SELECT"),
        ("SET threads = 1", "is no SELECT"),
        ("ATTACH 'x.db'", "is no SELECT"),
        ("SELECT * FROM read_csv('x.csv')", "reads by the function read_csv"),
        ("SELECT (SELECT max(x) FROM glob('*'))", "reads by the function glob"),
        ("FROM duckdb_settings()", "reads by the function duckdb_settings"),
        ("FROM query('FROM ' || 'secrets')", "reads by the function query"),
        ("FROM main.orders", "reads main.orders"),
        ("FROM information_schema.tables", "reads information_schema.tables"),
        ("DESCRIBE orders", "asks for a table's description"),
        ("SELECT $1", "has a parameter without a name"),
    ],
)
def test_a_query_is_one_select_that_reads_nothing_else(text: str, problem: str) -> None:
    with pytest.raises(StageError, match=r"^stage\.sql: ") as refusal:
        query(text, "stage.sql")
    assert problem in refusal.value.problem


@pytest.mark.parametrize("text", ["a + 1", "count(*)", "a -- why", "a IN (SELECT * FROM b)", "CASE WHEN a THEN 1 END"])
def test_an_expression_is_one_value(text: str) -> None:
    assert expression(text, "where").text == text


@pytest.mark.parametrize(
    "text",
    [
        "a, b",
        "a AS b",
        "a FROM orders",
        "a) UNION SELECT (b",
        "a) FROM read_csv('x') WHERE (true",
        "a ORDER BY b",
        "a LIMIT 1",
        "a WHERE b",
        "DISTINCT a",
        "*",
        "COLUMNS('a.*') + 1",
        "a;",
        "",
    ],
)
def test_more_than_an_expression_is_refused(text: str) -> None:
    with pytest.raises(StageError):
        expression(text, "where")


def test_only_a_type_is_a_type() -> None:
    assert type_name("STRUCT(a DECIMAL(18, 2)[], b VARCHAR)", "type")
    for text in ("INTEGER) + (1", "INTEGER, 1", "INTEGER)) FROM (SELECT (1"):
        with pytest.raises(StageError):
            type_name(text, "type")


def test_a_parameter_is_replaced_where_sql_has_one_and_nowhere_else() -> None:
    text = """SELECT é, $day, '$day', "$day", $$ $day $$, $day_of -- $day\nFROM x"""
    assert query(text, "sql").bound({"day": "it's", "day_of": -1}, "sql") == (
        """SELECT é, 'it''s', '$day', "$day", $$ $day $$, (-1) -- $day\nFROM x"""
    )


def test_a_parameter_without_a_value_is_named() -> None:
    with pytest.raises(StageError, match=r"no parameter 'day'.*known are: month, year"):
        query("SELECT $day", "sql").bound({"year": 1, "month": 2}, "sql")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.dates(),
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)),
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=st.just(UTC)),
    st.decimals(min_value=Decimal(-(10**20)), max_value=Decimal(10**20), places=4),
)


@given(VALUES)
def test_a_literal_is_the_value_that_a_bound_parameter_is(value: Any) -> None:
    connection = _connection()
    (said,) = connection.execute(f"SELECT {literal(value)}").fetchone() or ()
    assert (said, type(said)) == (value, type(value))


def _connection() -> Any:
    if not _kept:
        _kept.append(duckdb.connect(":memory:"))
        _kept[0].execute("SET TimeZone = 'UTC'")
    return _kept[0]


_kept: list[Any] = []


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"x", float("nan"), "a\0b"])
def test_what_has_no_literal_is_refused(value: Any) -> None:
    with pytest.raises(StageError, match="parameter 'x'"):
        query("SELECT $x", "sql").bound({"x": value}, "sql")


def test_a_text_compares_with_a_date_as_if_it_was_written_there() -> None:
    text = query("SELECT DATE '2026-11-28' > $day", "sql").bound({"day": "2026-11-27"}, "sql")
    assert _connection().execute(text).fetchall() == [(True,)]
    assert literal(date(2026, 11, 28)) == "CAST('2026-11-28' AS DATE)"
