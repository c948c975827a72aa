"""Columns as an engine describes them: a stage says which of them the platform can't name, and what to do."""

from __future__ import annotations

import pytest

from events.language.pipelines.columns import MAX_COLUMNS, Column
from forgelog.pipelines.described import described_column, described_columns, writable
from forgelog.pipelines.engine.binder import binder
from forgelog.pipelines.problems import StageError


def test_columns_have_the_names_and_types_that_are_described() -> None:
    assert described_columns([("a", "BIGINT"), (" b ", "VARCHAR[]")]) == (
        Column(name="a", type="BIGINT"),
        Column(name=" b ", type="VARCHAR[]"),
    )
    assert described_column("a", "BIGINT", nullable=False).nullable is False


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 256])
def test_a_name_that_no_column_can_have_is_told_with_its_remedy(name: str) -> None:
    with pytest.raises(StageError) as caught:
        described_column(name, "BIGINT", field="inputs.raw")
    assert str(caught.value).startswith("inputs.raw: has a column that is called '")
    assert str(caught.value).endswith("; give it another name with AS, of 1 to 255 visible characters")


def test_a_type_that_is_too_long_is_told_with_its_column() -> None:
    with pytest.raises(StageError, match="column 'a' has a type that is too long"):
        described_column("a", f"STRUCT({'x' * 10_000} INTEGER)")


def test_a_query_is_checked_where_it_is_bound() -> None:
    with binder() as bound, pytest.raises(StageError, match="sql: has a column that is called"):
        bound.bind("out", 'SELECT 1 AS "a\nb"', "sql")


def test_a_dataset_has_so_many_columns_at_most() -> None:
    columns = tuple(Column(name=f"c{number}", type="BIGINT") for number in range(MAX_COLUMNS))
    assert writable(columns) == columns
    with pytest.raises(StageError, match=f"has {MAX_COLUMNS + 1} columns, and a dataset has at most {MAX_COLUMNS}"):
        writable((*columns, Column(name="more", type="BIGINT")))
