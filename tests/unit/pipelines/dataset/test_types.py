"""Which type of a column holds all values of another."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from services.pipelines.dataset.types import canonical, widens


def asked(query: str) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


SCALARS = [
    *(f"{sign}{name}" for name in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT") for sign in ("", "U")),
    "FLOAT",
    "DOUBLE",
    "DECIMAL(5,2)",
    "DECIMAL(12,2)",
    "DECIMAL(38,0)",
]


@pytest.mark.parametrize("old", SCALARS)
@pytest.mark.parametrize("new", SCALARS)
def test_a_wider_type_holds_the_extremes_of_the_old_one(old: str, new: str) -> None:
    """DuckDB says whether the least and the greatest value of a type survive the way to another type and back."""
    if not widens(old, new):
        return
    for value in EXTREMES[old]:
        query = f"SELECT CAST(CAST(CAST({value!r} AS {old}) AS {new}) AS {old}) = CAST({value!r} AS {old})"
        assert asked(query) == [(True,)], value


def _extremes(type: str) -> list[str]:
    if type.startswith("DECIMAL"):
        precision, scale = map(int, type[8:-1].split(","))
        digits = "9" * (precision - scale) + (f".{'9' * scale}" if scale else "")
        return [digits, f"-{digits}"]
    if type in ("FLOAT", "DOUBLE"):
        return ["0.1", "-3e38", "1e-38"]
    bits = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
    if type.startswith("U"):
        return ["0", str(2 ** bits[type[1:]] - 1)]
    return [str(-(2 ** (bits[type] - 1))), str(2 ** (bits[type] - 1) - 1)]


EXTREMES = {type: _extremes(type) for type in SCALARS}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("INTEGER", "BIGINT"),
        ("UINTEGER", "BIGINT"),
        ("INTEGER", "DOUBLE"),
        ("SMALLINT", "FLOAT"),
        ("INTEGER", "DECIMAL(12,2)"),
        ("DECIMAL(5,2)", "DECIMAL(12,2)"),
        ("DECIMAL(5,2)", "DECIMAL(6,3)"),
        ("FLOAT", "DOUBLE"),
        ("DATE", "TIMESTAMP"),
        ("INTEGER[]", "BIGINT[]"),
        ("INTEGER[3]", "INTEGER[]"),
        ("ENUM('a', 'b')", "VARCHAR"),
        ('"NULL"', "STRUCT(a INTEGER)"),
        ("int", "long"),
    ],
)
def test_these_widen(old: str, new: str) -> None:
    assert widens(old, new)
    assert not widens(new, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("BIGINT", "DOUBLE"),  # 2 ** 63 - 1 is no double
        ("INTEGER", "FLOAT"),
        ("BIGINT", "UBIGINT"),
        ("DECIMAL(5,2)", "DECIMAL(5,3)"),
        ("DECIMAL(5,2)", "DOUBLE"),
        ("INTEGER", "VARCHAR"),
        ("TIMESTAMP", "DATE"),
        ("STRUCT(a INTEGER)", "STRUCT(a BIGINT)"),
        ("INTEGER", "INT"),
        ("INTEGER[]", "INTEGER[3]"),
    ],
)
def test_these_do_not(old: str, new: str) -> None:
    assert not widens(old, new)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("int", "INTEGER"),
        ("numeric(10, 2)", "DECIMAL(10,2)"),
        ("DECIMAL", "DECIMAL(18,3)"),
        ("varchar(20)", "VARCHAR"),
        ("text[]", "VARCHAR[]"),
        ("timestamptz", "TIMESTAMP WITH TIME ZONE"),
        ("STRUCT(Name VARCHAR)", "STRUCT(Name VARCHAR)"),
    ],
)
def test_a_type_is_known_by_its_other_names(given: str, said: str) -> None:
    assert canonical(given) == said
    ((_, described, *_),) = asked(f"DESCRIBE SELECT CAST(NULL AS {given}) AS c")
    assert described.replace('"', "") == said
