"""From a query to the columns of its inputs: right, or unresolved with the reason."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from bench.tpch_queries import QUERIES, READS, TABLES
from events.language.pipelines.columns import Column
from events.language.pipelines.lineage import LineageEdges
from forgelog.pipelines.engine import describe
from forgelog.pipelines.lineage import columns
from forgelog.pipelines.lineage.columns import column_lineage

PRICE, DISCOUNT = "lineitem.l_extendedprice", "lineitem.l_discount"

TRUTH: dict[str, dict[str, set[str]]] = {
    "q1": {
        "l_returnflag": {"lineitem.l_returnflag"},
        "l_linestatus": {"lineitem.l_linestatus"},
        "sum_qty": {"lineitem.l_quantity"},
        "sum_base_price": {PRICE},
        "sum_disc_price": {PRICE, DISCOUNT},
        "sum_charge": {PRICE, DISCOUNT, "lineitem.l_tax"},
        "avg_qty": {"lineitem.l_quantity"},
        "avg_price": {PRICE},
        "avg_disc": {DISCOUNT},
        "count_order": set(),
    },
    "q3": {
        "l_orderkey": {"lineitem.l_orderkey"},
        "revenue": {PRICE, DISCOUNT},
        "o_orderdate": {"orders.o_orderdate"},
        "o_shippriority": {"orders.o_shippriority"},
    },
    "q5": {"n_name": {"nation.n_name"}, "revenue": {PRICE, DISCOUNT}},
    "q6": {"revenue": {PRICE, DISCOUNT}},
    "q9": {
        "nation": {"nation.n_name"},
        "o_year": {"orders.o_orderdate"},
        "sum_profit": {PRICE, DISCOUNT, "partsupp.ps_supplycost", "lineitem.l_quantity"},
    },
    "q13": {"c_count": {"orders.o_orderkey"}, "custdist": set()},
    "q15": {
        "s_suppkey": {"supplier.s_suppkey"},
        "s_name": {"supplier.s_name"},
        "s_address": {"supplier.s_address"},
        "s_phone": {"supplier.s_phone"},
        "total_revenue": {PRICE, DISCOUNT},
    },
    "q18": {
        "c_name": {"customer.c_name"},
        "c_custkey": {"customer.c_custkey"},
        "o_orderkey": {"orders.o_orderkey"},
        "o_orderdate": {"orders.o_orderdate"},
        "o_totalprice": {"orders.o_totalprice"},
        "quantity": {"lineitem.l_quantity"},
    },
}


@pytest.fixture(scope="module")
def tpch() -> Any:
    connection = duckdb.connect(":memory:")
    for name, listed in TABLES.items():
        connection.execute(f"CREATE TABLE {name} ({listed})")
    return connection


@pytest.fixture(scope="module")
def small() -> Any:
    connection = duckdb.connect(":memory:")
    connection.execute(
        "CREATE TABLE o (id INTEGER, cust INTEGER, Price DECIMAL(9, 2), d DATE, l INTEGER[], "
        "s STRUCT(a INTEGER, b INTEGER))"
    )
    connection.execute("CREATE TABLE k (id INTEGER, cust INTEGER, city VARCHAR)")
    return connection


def lineage(connection: Any, sql: str) -> LineageEdges:
    schemas = {name: describe(connection, name) for (name,) in connection.execute("SHOW TABLES").fetchall()}
    return column_lineage(sql, schemas, [row[0] for row in connection.execute(f"DESCRIBE {sql}").fetchall()])


def table(connection: Any, sql: str) -> dict[str, set[str]]:
    """Each output column with what it comes from."""
    found = lineage(connection, sql)
    assert not found.unresolved
    said: dict[str, set[str]] = {row[0]: set() for row in connection.execute(f"DESCRIBE {sql}").fetchall()}
    for edge in found.columns:
        said[edge.column].add(f"{edge.dataset}.{edge.source}")
    return said


@pytest.mark.parametrize("name", QUERIES)
def test_tpch(tpch: Any, name: str) -> None:
    assert table(tpch, QUERIES[name]) == TRUTH[name]
    assert set(lineage(tpch, QUERIES[name]).tables) == set(READS[name])


@pytest.mark.parametrize("name", QUERIES)
def test_tpch_through_common_table_expressions_and_stars(tpch: Any, name: str) -> None:
    """Each table is shadowed by an expression of its own name, and everything is a star: the columns are the same."""
    shadows = ", ".join(f"{each} AS (SELECT * FROM {each})" for each in READS[name])
    sql = f"WITH {shadows}, answer AS ({QUERIES[name]}), again AS (SELECT a.* FROM answer AS a) SELECT * FROM again"
    assert table(tpch, sql) == TRUTH[name]
    assert set(lineage(tpch, sql).tables) == set(READS[name])


def test_tpch_3_with_common_table_expressions_and_stars(tpch: Any) -> None:
    sql = """
        WITH buyers AS (SELECT * FROM customer WHERE c_mktsegment = 'BUILDING'),
             open AS (SELECT * FROM orders JOIN buyers ON c_custkey = o_custkey WHERE o_orderdate < DATE '1995-03-15'),
             shipped AS (SELECT * FROM open JOIN lineitem ON l_orderkey = o_orderkey),
             priced AS (SELECT *, l_extendedprice * (1 - l_discount) AS amount FROM shipped),
             revenue AS (SELECT l_orderkey, sum(amount) AS total FROM priced GROUP BY ALL)
        SELECT * FROM revenue ORDER BY total DESC LIMIT 10
    """
    assert table(tpch, sql) == {"l_orderkey": {"lineitem.l_orderkey"}, "total": {PRICE, DISCOUNT}}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT CUST AS c, price FROM O", {"c": {"o.cust"}, "Price": {"o.Price"}}),
        ("SELECT id + 1 AS cust, cust + 1 AS z FROM o", {"cust": {"o.id"}, "z": {"o.cust"}}),
        ("SELECT id + 1 AS q, q + 1 AS z FROM o", {"q": {"o.id"}, "z": {"o.id"}}),
        (
            "SELECT * EXCLUDE (d, l, s) REPLACE (price * cust AS price) FROM o",
            {"id": {"o.id"}, "cust": {"o.cust"}, "price": {"o.Price", "o.cust"}},
        ),
        ("SELECT (SELECT max(city) FROM k WHERE k.cust = o.cust) AS m FROM o", {"m": {"k.city"}}),
        ("SELECT EXISTS (SELECT * FROM k) AS e FROM o", {"e": set()}),
        ("SELECT cust IN (SELECT cust FROM k) AS e FROM o", {"e": {"o.cust", "k.cust"}}),
        ("SELECT id FROM o UNION ALL SELECT cust FROM k", {"id": {"o.id", "k.cust"}}),
        ("SELECT id FROM o EXCEPT SELECT id FROM k", {"id": {"o.id"}}),
        ("SELECT row_number() OVER (PARTITION BY cust ORDER BY d) AS n FROM o", {"n": {"o.cust", "o.d"}}),
        ("SELECT sum(price) FILTER (WHERE d > DATE '2026-01-01') AS f FROM o", {"f": {"o.Price", "o.d"}}),
        ("SELECT sum(price) FROM o", {"sum(price)": {"o.Price"}}),
        ("SELECT unnest(l) AS u, s.a FROM o", {"u": {"o.l"}, "a": {"o.s"}}),
        ("SELECT u FROM o, unnest(l) AS t(u)", {"u": {"o.l"}}),
        ("SELECT [x * 2 FOR x IN l IF x > cust] AS y FROM o", {"y": {"o.l", "o.cust"}}),
        ("SELECT o.city AS x FROM k AS o, o AS k", {"x": {"k.city"}}),
        ("WITH o AS (SELECT id, price FROM o WHERE id > 1) FROM o", {"id": {"o.id"}, "Price": {"o.Price"}}),
        ("WITH a(x, y) AS (SELECT id, cust FROM o) SELECT y FROM a", {"y": {"o.cust"}}),
        (
            "WITH RECURSIVE r AS (SELECT id AS a, cust AS b, price AS c FROM o UNION ALL SELECT b, c, a FROM r) "
            "SELECT a FROM r",
            {"a": {"o.id", "o.cust", "o.Price"}},
        ),
    ],
)
def test_what_a_column_is_computed_from(small: Any, sql: str, expected: dict[str, set[str]]) -> None:
    assert table(small, sql) == expected


@pytest.mark.parametrize(
    ("sql", "reason", "tables"),
    [
        ("SELECT COLUMNS('c.*') FROM o", "COLUMNS(...)", ("o",)),
        ("FROM (PIVOT o ON cust IN (1, 2) USING sum(price) GROUP BY id)", "PIVOT", ("o",)),
        ("SELECT s.* FROM o", "star", ("o",)),
        ("SELECT unnest(s) FROM o", "sqlglot finds 1 columns, and DuckDB 2", ("o",)),
        ("SELECT id, cust FROM o UNION ALL BY NAME SELECT cust, id FROM k", "UNION BY NAME", ("o", "k")),
        ("SELECT o.id FROM o NATURAL JOIN k", "NATURAL JOIN", ("o", "k")),
        ("SELECT o.id FROM o POSITIONAL JOIN k", "POSITIONAL JOIN", ("o", "k")),
        ("SELECT v FROM o, LATERAL (SELECT o.id + 1 AS v)", "LATERAL", ("o",)),
        ("SELECT #1 FROM o", "by its place", ("o",)),
        ("SELECT o FROM o", "a whole row of o", ("o",)),
        ("SELECT list_transform(l, lambda cust: cust + 1) AS y FROM o", "the variable 'cust'", ("o",)),
        ("SELECT x FROM o, range(o.id) AS r(x)", "sqlglot", ("o",)),
        ('WITH a AS (SELECT sum(price) FROM o) SELECT "sum(Price)" FROM a', "sqlglot", ("o",)),
    ],
)
def test_what_can_not_be_told_is_unresolved_with_the_reason_and_the_tables(
    small: Any, sql: str, reason: str, tables: tuple[str, ...]
) -> None:
    found = lineage(small, sql)
    assert reason in found.unresolved
    assert not found.columns
    assert set(found.tables) == set(tables)


def test_other_names_than_duckdbs_are_unresolved() -> None:
    found = column_lineage("SELECT a AS x FROM t", {"t": (Column(name="a", type="INTEGER"),)}, ["y"])
    assert "sqlglot finds the column 'x' where DuckDB has 'y'" in found.unresolved


def test_more_edges_than_an_event_holds_are_unresolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_EDGES", 8)
    schemas = {"t": tuple(Column(name=name, type="INTEGER") for name in "abc")}
    sql = "SELECT a + b + c AS a, a + b + c AS b, a + b + c AS c FROM t"
    assert "9 edges" in column_lineage(sql, schemas, ["a", "b", "c"]).unresolved
