"""Each type of transformation: what it gives, and what is wrong about one before it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgelog.pipelines.problems import StageError
from tests.unit.pipelines.staging import Stage, columns

ORDERS = "FROM (VALUES (1, 'ann', 5.5::DECIMAL(9, 2)), (2, 'bob', 3), (3, NULL, NULL)) AS o(id, customer, price)"
CUSTOMERS = "FROM (VALUES ('ann', 'Bern', 7), ('eve', 'Basel', 8)) AS c(customer, city, id)"

Make = Callable[..., Stage]


@pytest.fixture
def stage(tmp_path: Path) -> Make:
    def make(**inputs: str) -> Stage:
        return Stage(tmp_path, inputs or {"orders": ORDERS})

    return make


def test_without_transformations_the_only_input_is_the_result(stage: Make) -> None:
    assert stage().ran().relation == "orders"


class TestMap:
    def test_casts_then_computes_then_drops_then_renames(self, stage: Make) -> None:
        ran = stage().ran(
            {
                "map": {
                    "cast": [{"name": "ID", "type": "VARCHAR"}],
                    "columns": [
                        {"name": "price", "expression": "price * 2"},
                        {"name": "key", "expression": "id || '-' || customer"},
                        {"name": "before", "expression": "price"},
                    ],
                    "drop": ["customer"],
                    "rename": [{"name": "id", "to": "order"}],
                }
            }
        )
        assert ran.plan.columns == columns("order VARCHAR, price DECIMAL(18,2), key VARCHAR, before DECIMAL(12,2)")

    def test_a_computed_column_takes_the_place_of_its_namesake_which_others_still_see(self, stage: Make) -> None:
        rows = stage().rows(
            {
                "map": {
                    "columns": [
                        {"name": "ID", "expression": "id + 10"},
                        {"name": "old", "expression": "id"},
                    ],
                    "keep": ["old", "id"],
                }
            }
        )
        assert rows == [(1, 11), (2, 12), (3, 13)]

    def test_a_lenient_cast_gives_null(self, stage: Make) -> None:
        cast = {"map": {"cast": [{"name": "customer", "type": "INTEGER", "lenient": True}], "keep": ["customer"]}}
        assert stage().rows(cast) == [(None,), (None,), (None,)]


def test_filter_keeps_rows_for_which_the_condition_is_true(stage: Make) -> None:
    assert stage().rows({"filter": {"where": "price > $least -- not null"}}, least=4) == [(1, "ann", 5.5)]


class TestJoin:
    @pytest.fixture
    def both(self, stage: Make) -> Stage:
        return stage(orders=ORDERS, customers=CUSTOMERS)

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("inner", {(1, "ann", "Bern", 7)}),
            ("left", {(1, "ann", "Bern", 7), (2, "bob", None, None), (3, None, None, None)}),
            ("right", {(1, "ann", "Bern", 7), (None, "eve", "Basel", 8)}),
            (
                "full",
                {
                    (1, "ann", "Bern", 7),
                    (2, "bob", None, None),
                    (3, None, None, None),
                    (None, "eve", "Basel", 8),
                },
            ),
        ],
    )
    def test_keys_are_there_once_and_names_of_both_get_a_suffix(
        self, both: Stage, kind: str, expected: set[tuple[Any, ...]]
    ) -> None:
        join = {"id": "met", "input": "orders", "join": {"right": "customers", "type": kind, "using": ["customer"]}}
        ran = both.ran(join, {"map": {"keep": ["id", "customer", "city", "id_right"]}})
        assert set(both.query(ran.relation)) == expected

    @pytest.mark.parametrize(("kind", "expected"), [("semi", [(1,)]), ("anti", [(2,), (3,)])])
    def test_semi_and_anti_joins_add_no_column(self, both: Stage, kind: str, expected: list[Any]) -> None:
        join = {
            "input": "orders",
            "join": {"right": "customers", "type": kind, "on": "orders.customer = customers.customer"},
        }
        rows = both.rows(join, {"map": {"keep": ["id"]}})
        assert sorted(rows) == expected

    def test_cross(self, both: Stage) -> None:
        assert len(both.rows({"input": "orders", "join": {"right": "customers", "type": "cross"}})) == 6

    def test_a_suffix_that_makes_no_new_name_is_refused(self, both: Stage) -> None:
        twice = [
            {"id": "a", "input": "orders", "map": {"columns": [{"name": "id_right", "expression": "1"}]}},
            {"join": {"right": "customers", "using": ["customer"]}},
        ]
        with pytest.raises(StageError, match=r"^transformations\[1\].join.suffix: gives two columns the name"):
            both.plan(*twice)


class TestAggregate:
    def test_groups_come_first_and_nulls_are_a_group(self, stage: Make) -> None:
        numbers = stage(n="FROM (VALUES ('a', 1), ('a', 2), (NULL, 4), (NULL, 8)) AS t(k, v)")
        rows = numbers.rows({"aggregate": {"group_by": ["k"], "columns": [{"name": "sum", "expression": "sum(v)"}]}})
        assert sorted(rows, key=str) == [("a", 3), (None, 12)]

    def test_without_groups_there_is_one_row_of_no_rows_too(self, stage: Make) -> None:
        none = {"filter": {"where": "false"}}
        count = {
            "aggregate": {"columns": [{"name": "n", "expression": "count(*)"}, {"name": "one", "expression": "1"}]}
        }
        assert stage().rows(none, count) == [(0, 1)]
        assert stage().rows(count) == [(3, 1)]

    def test_having(self, stage: Make) -> None:
        aggregate = {
            "group_by": ["customer"],
            "columns": [{"name": "n", "expression": "sum(price)"}],
            "having": "sum(price) > 4",
        }
        assert stage().rows({"aggregate": aggregate}) == [("ann", 5.5)]


class TestWindow:
    SERIES = "FROM (VALUES ('a', 1, 10), ('a', 2, 20), ('a', 3, 40), ('b', 1, 5)) AS s(k, t, v)"

    @pytest.mark.parametrize(
        ("frame", "expected"),
        [
            (None, [10, 30, 70, 5]),
            ({"preceding": 1}, [10, 30, 60, 5]),
            ({"preceding": 0, "following": 1}, [30, 60, 40, 5]),
            ({"preceding": None, "to_end": True}, [70, 70, 70, 5]),
            ({"unit": "range", "preceding": 0, "following": 0}, [10, 20, 40, 5]),
        ],
    )
    def test_frames(self, stage: Make, frame: Any, expected: list[int]) -> None:
        window = {
            "partition_by": ["k"],
            "order_by": [{"expression": "t"}],
            "frame": frame,
            "columns": [{"name": "sum", "expression": "sum(v)"}],
        }
        sort = {"sort": {"by": [{"expression": "k"}, {"expression": "t"}]}}
        rows = stage(s=self.SERIES).rows({"window": window}, sort)
        assert [row[3] for row in rows] == expected

    def test_the_newest_row_of_each_key(self, stage: Make) -> None:
        window = {
            "partition_by": ["k"],
            "order_by": [{"expression": "t", "descending": True}],
            "columns": [{"name": "place", "expression": "row_number()"}],
            "keep": "place = 1",
        }
        rows = stage(s=self.SERIES).rows({"window": window})
        assert sorted(rows) == [("a", 3, 40, 1), ("b", 1, 5, 1)]

    @pytest.mark.parametrize("text", ["sum(v) + 1", "v", "sum(v) OVER ()"])
    def test_a_windows_expression_is_one_call(self, stage: Make, text: str) -> None:
        with pytest.raises(StageError, match=r"transformations\[0\].window.columns\[0\].expression: .* is no call"):
            stage(s=self.SERIES).plan({"window": {"columns": [{"name": "x", "expression": text}]}})


class TestSort:
    def test_rows_without_a_value_are_last_unless_told_otherwise(self, stage: Make) -> None:
        up = {"sort": {"by": [{"expression": "price"}]}}
        down = {"sort": {"by": [{"expression": "price", "descending": True}]}}
        first = {"sort": {"by": [{"expression": "price", "nulls": "first"}], "limit": 1}}
        assert [row[0] for row in stage().rows(up)] == [2, 1, 3]
        assert [row[0] for row in stage().rows(down)] == [1, 2, 3]
        assert [row[0] for row in stage().rows(first)] == [3]

    def test_a_number_is_no_column(self, stage: Make) -> None:
        with pytest.raises(StageError, match="is the same for all rows"):
            stage().plan({"sort": {"by": [{"expression": "1"}]}})


class TestCustomSql:
    def test_reads_inputs_and_earlier_transformations(self, stage: Make) -> None:
        both = stage(orders=ORDERS, customers=CUSTOMERS)
        rows = both.rows(
            {"id": "cheap", "input": "orders", "filter": {"where": "price < $most"}},
            {
                "custom": {
                    "sql": "WITH x AS (FROM cheap) SELECT count(*) + (SELECT count(*) FROM customers) AS n FROM x"
                }
            },
            most=5,
        )
        assert rows == [(3,)]

    def test_its_own_parameters_go_before_the_pipelines(self, stage: Make) -> None:
        rows = stage().rows(
            {"custom": {"sql": "SELECT $a AS a, $b AS b"}, "parameters": {"a": "own"}}, a="general", b=True
        )
        assert rows == [("own", True)]


@pytest.mark.parametrize(
    ("entry", "field", "problem"),
    [
        ({"filter": {"where": "pric > 1"}}, "filter", '"pric" not found'),
        ({"filter": {"where": "nothing(price)"}}, "filter", "nothing does not exist"),
        ({"filter": {"where": "price >"}}, "filter.where", "is no SQL"),
        ({"filter": {"where": "id IN (SELECT id FROM secrets)"}}, "filter", "reads 'secrets', which is no relation"),
        ({"map": {"keep": ["pric"]}}, "map.keep[0]", "there is no column 'pric'"),
        ({"map": {"drop": ["id", "customer", "price"]}}, "map.drop", "names all columns"),
        ({"map": {"cast": [{"name": "id", "type": "NUMBERS"}]}}, "map", "NUMBERS does not exist"),
        ({"map": {"rename": [{"name": "id", "to": "PRICE"}]}}, "map.rename", "gives two columns the name 'price'"),
        ({"aggregate": {"group_by": ["day"]}}, "aggregate.group_by[0]", "there is no column 'day'"),
        (
            {"aggregate": {"columns": [{"name": "x", "expression": "price"}]}},
            "aggregate",
            "must appear in the GROUP BY",
        ),
        ({"custom": {"sql": "SELECT id, price AS ID FROM orders"}}, "custom.sql", "two columns the name 'ID'"),
        ({"custom": {"sql": "FROM customers"}}, "custom.sql", "reads 'customers', which is no relation before it"),
        ({"custom": {"sql": "FROM 'orders.csv'"}}, "custom.sql", "reads 'orders.csv', which is no relation"),
        ({"custom": {"sql": "FROM duckdb_tables"}}, "custom.sql", "reads 'duckdb_tables', which is no relation"),
        ({"custom": {"sql": "SELECT $day AS d"}}, "custom.sql", "there is no parameter 'day'"),
    ],
)
def test_what_is_wrong_is_found_without_data_and_named(
    stage: Make, entry: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(StageError) as refusal:
        stage().plan({"filter": {"where": "true"}}, entry)
    assert refusal.value.field == f"transformations[1].{field}"
    assert problem in refusal.value.problem
    assert refusal.value.remedy


def test_the_plan_is_one_query_over_the_inputs(stage: Make) -> None:
    orders = stage(orders=ORDERS, customers=CUSTOMERS)
    plan = orders.plan(
        {"id": "unused", "input": "customers", "filter": {"where": "true"}},
        {"id": "cheap", "input": "orders", "filter": {"where": "price < 5"}},
        {"aggregate": {"columns": [{"name": "n", "expression": "count(*)"}]}},
    )
    assert plan.columns == columns("n BIGINT")
    assert "unused" not in plan.sql
    assert orders.connection.execute(plan.sql).fetchall() == [(1,)]


@pytest.mark.parametrize("level", ["memory", "disk"])
def test_what_is_kept_is_computed_once(tmp_path: Path, level: str) -> None:
    stage = Stage(tmp_path, {"n": "FROM range(5)"})
    random = {"id": "r", "custom": {"sql": "SELECT random() AS x FROM n"}, "cache": level}
    first, second = stage.rows(random, {"custom": {"sql": "FROM r UNION ALL FROM r"}})[::5]
    assert first == second


def test_a_query_may_read_scratch_space_only_by_what_the_engine_keeps_there(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"n": "FROM range(5)"})
    (tmp_path / "other.csv").write_text("a\n1\n")
    with pytest.raises(StageError, match="reads by the function read_csv"):
        stage.plan({"custom": {"sql": f"FROM read_csv('{tmp_path}/other.csv')"}})
