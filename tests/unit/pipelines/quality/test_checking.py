"""Given a table and rules: what is counted, what goes to the quarantine and why, and what stops the stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.language.pipelines.quality import DataQualityRule
from forgelog.pipelines.problems import StageError
from forgelog.pipelines.quality import Checked, check


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"enable_external_access": False, "lock_configuration": True}) as connection:
        connection.execute(
            """CREATE TABLE sales AS SELECT * FROM (VALUES
                (1, 'CHE', 10.00::DECIMAL(18,2), 1.5::DOUBLE),
                (2, NULL,  0.00, 'nan'),
                (2, 'DEU', 99.99, NULL),
                (3, 'x',   NULL, 2.5)) AS v(id, country, price, score)"""
        )
        yield connection


def rule(type: str, rule_id: str = "r", **given: Any) -> DataQualityRule:
    return DataQualityRule.model_validate({"rule_id": rule_id, "type": type, **given})


def checked(connection: duckdb.DuckDBPyConnection, *rules: DataQualityRule) -> Checked:
    return check(connection, "sales", rules)


def rows(connection: duckdb.DuckDBPyConnection, relation: str | None, columns: str = "*") -> list[tuple[Any, ...]]:
    return connection.execute(f'SELECT {columns} FROM "{relation}" ORDER BY ALL').fetchall() if relation else []


@pytest.mark.parametrize(
    ("asked", "failed"),
    [
        (rule("completeness", columns=["country"]), 1),
        (rule("completeness", columns=["score"]), 2),  # NaN is missing, too
        (rule("completeness", columns=["country", "price"]), 2),
        (rule("uniqueness", columns=["id"]), 2),
        (rule("uniqueness", columns=["id"], keep_first_by="price DESC"), 1),
        (rule("uniqueness", columns=["id", "country"]), 0),  # a row with a null in the key passes
        (rule("uniqueness", columns=["id"], where="price > 0"), 0),
        (rule("range", columns=["price"], minimum="0.005"), 1),  # not rounded to the column's 0.01 or 0.00
        (rule("range", columns=["price"], minimum=0, maximum="99.98"), 1),
        (rule("range", columns=["score"], minimum=0), 1),  # NaN is in no range
        (rule("range", columns=["country"], minimum="D"), 1),
        (rule("pattern", columns=["country"], pattern="[A-Z]{3}"), 1),
        (rule("pattern", columns=["id", "country"], pattern="[0-9A-Z]+"), 1),
        (rule("custom", expression="price < 50 -- cheap"), 1),
        (rule("custom", expression="id IN (SELECT 1 UNION SELECT 2)"), 1),
        (rule("custom", expression="NULL"), 0),
    ],
)
def test_the_rows_that_fail_are_counted(
    database: duckdb.DuckDBPyConnection, asked: DataQualityRule, failed: int
) -> None:
    (outcome,) = checked(database, asked).outcomes
    assert outcome.failed == failed
    assert outcome.rows == outcome.passed + failed == (2 if asked.where else 4)
    assert outcome.breached is (failed > 0)


def test_rows_that_fail_go_to_the_quarantine_with_their_reasons(database: duckdb.DuckDBPyConnection) -> None:
    done = checked(
        database,
        rule("completeness", "country-known", columns=["country"]),
        rule("range", "price-positive", columns=["price"], minimum="0.01"),
        rule("pattern", "country-code", columns=["country"], pattern="[A-Z]{3}", severity="warning"),
        rule("custom", "few", expression="count(*) < 3", level="table", severity="warning"),
    )
    assert rows(database, done.clean, "id, country") == [(1, "CHE"), (2, "DEU"), (3, "x")]
    assert rows(database, done.quarantine, "id, _rules, _reasons") == [
        (2, ["country-known", "price-positive"], ["country is missing", "price is below 0.01"])
    ]
    assert done.quarantined == 1
    assert [(o.rule_id, o.rows, o.failed, o.quarantined, o.breached) for o in done.outcomes] == [
        ("country-known", 4, 1, 1, True),
        ("price-positive", 4, 1, 1, True),
        ("country-code", 4, 1, 0, True),
        ("few", 4, 4, 0, True),
    ]
    assert done.failing is None


def test_the_clean_rows_have_the_columns_of_the_table(database: duckdb.DuckDBPyConnection) -> None:
    database.execute('ALTER TABLE sales RENAME score TO "_failed_0"')
    database.execute('ALTER TABLE sales RENAME price TO "_RULES"')
    done = checked(database, rule("completeness", columns=["country"]))
    assert [column[0] for column in database.execute(f'DESCRIBE "{done.clean}"').fetchall()] == [
        "id",
        "country",
        "_RULES",
        "_failed_0",
    ]
    assert rows(database, done.quarantine, 'id, "__rules"') == [(2, ["r"])]


def test_a_table_without_rules_is_not_touched(database: duckdb.DuckDBPyConnection) -> None:
    assert checked(database, rule("completeness", columns=["nowhere"], enabled=False)).clean == "sales"


def test_the_rows_that_are_judged_are_those_that_are_written(database: duckdb.DuckDBPyConnection) -> None:
    database.execute("CREATE VIEW dice AS SELECT random() AS r FROM range(1000)")
    done = check(database, "dice", [rule("range", columns=["r"], maximum="0.5")])
    assert database.execute(f'SELECT count(*) FILTER (r > 0.5) FROM "{done.clean}"').fetchone() == (0,)
    assert rows(database, done.clean) == rows(database, done.clean)


@pytest.mark.parametrize(("threshold", "breached"), [(0.75, False), (0.76, True)])
def test_a_share_below_the_threshold_is_a_breach(
    database: duckdb.DuckDBPyConnection, threshold: float, breached: bool
) -> None:
    done = checked(database, rule("completeness", columns=["country"], threshold=threshold, severity="critical"))
    assert (done.outcomes[0].breached, done.outcomes[0].stops, done.failing is not None) == (breached,) * 3


def test_a_rule_that_stops_says_how_many_rows_fail_and_what_to_do(database: duckdb.DuckDBPyConnection) -> None:
    stopped = checked(database, rule("completeness", "known", columns=["country"], severity="critical")).error()
    assert str(stopped) == (
        "rules.known: 1 of 4 rows fail: country is missing. Nothing is committed; mend the data, or lower the rule's "
        "threshold of 1 or its severity"
    )


def test_an_empty_table_breaks_conditions_on_all_rows_alone(database: duckdb.DuckDBPyConnection) -> None:
    database.execute("DELETE FROM sales")
    done = checked(
        database,
        rule("completeness", "known", columns=["country"], severity="critical"),
        rule("custom", "some", expression="count(*) > 0", level="table", severity="critical"),
    )
    assert [(o.rows, o.pass_rate, o.breached) for o in done.outcomes] == [(0, 1.0, False), (0, 0.0, True)]
    assert "the table breaks it: not count(*) > 0" in str(done.error())


def test_a_rule_of_the_dataset_is_evaluated_beside_the_stage_s_with_its_revision(
    database: duckdb.DuckDBPyConnection,
) -> None:
    done = check(
        database, "sales", [rule("completeness", columns=["id"])], [(rule("completeness", columns=["country"]), 3)]
    )
    assert [(o.revision, o.failed) for o in done.outcomes] == [(0, 0), (3, 1)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            rule("completeness", columns=["contry"]),
            "there is no column 'contry'; did you mean 'country'",
        ),
        (rule("range", columns=["price"], minimum="cheap"), "rules.r.minimum: is 'cheap', which is no number"),
        (rule("custom", expression="price"), r"rules.r.expression: gives DECIMAL\(18,2\), which is no condition"),
        (
            rule("custom", expression="cost > 0"),
            "rules.r.expression: .*cost.*; write a condition on",
        ),
        (rule("custom", expression="count(*) > 0"), "say level: table"),
        (rule("custom", expression="price > 0", level="table"), "write a condition on all rows"),
        (rule("custom", expression="price > 0) OR (true"), "rules.r.expression: is no expression"),
        (rule("custom", expression="true; DROP TABLE sales"), "rules.r.expression: is no expression"),
        (rule("custom", expression="CAST(country AS INTEGER) > 0"), "rules.r: can't be evaluated: Conversion Error"),
        (rule("completeness", columns=["id"], where="id"), "rules.r.where: gives INTEGER, which is no condition"),
        (rule("pattern", columns=["country"], pattern="["), "rules.r: can't be evaluated"),
        (rule("uniqueness", columns=["id"], keep_first_by="updated DESC"), "rules.r.keep_first_by: .*updated"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said_by_its_field(
    database: duckdb.DuckDBPyConnection, asked: DataQualityRule, said: str
) -> None:
    with pytest.raises(StageError, match=said):
        checked(database, rule("completeness", "good", columns=["id"]), asked)


def test_what_the_table_s_own_query_raises_is_not_blamed_on_a_rule(database: duckdb.DuckDBPyConnection) -> None:
    database.execute("CREATE VIEW broken AS SELECT CAST(country AS INTEGER) AS n FROM sales")
    with pytest.raises(duckdb.ConversionException):
        check(database, "broken", [rule("completeness", columns=["n"])])


CELLS = st.one_of(st.none(), st.integers(-3, 3))


@settings(max_examples=40)
@given(table=st.lists(st.tuples(CELLS, CELLS), max_size=30))
def test_clean_rows_and_quarantine_are_the_table(table: list[tuple[int | None, int | None]]) -> None:
    """Every row is in one of them; rules count what a plain loop counts."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b INTEGER)")
        if table:
            connection.executemany("INSERT INTO t VALUES (?, ?)", table)
        done = check(
            connection,
            "t",
            [
                rule("completeness", "known", columns=["a"]),
                rule("range", "small", columns=["b"], minimum=-2, maximum=2),
                rule("uniqueness", "once", columns=["a", "b"]),
            ],
        )
        clean, aside = rows(connection, done.clean), rows(connection, done.quarantine, "a, b")
    keys = [row for row in table if None not in row]
    counts = [
        sum(a is None for a, _ in table),
        sum(b is not None and abs(b) > 2 for _, b in table),
        sum(keys.count(row) > 1 for row in keys),
    ]
    assert [outcome.failed for outcome in done.outcomes] == counts
    assert sorted(clean + aside, key=repr) == sorted(table, key=repr)
    assert not [
        row for row in clean if row[0] is None or (row[1] is not None and abs(row[1]) > 2) or keys.count(row) > 1
    ]
