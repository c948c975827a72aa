"""Rows that are set aside from a stage's inputs: in the quarantine of what the stage writes, as JSON.

A quarantine is read by the columns of its newest version, and grows with versions that add rows. The columns of inputs
are others than the stage's, and may have other types under the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from events.language.pipelines.columns import Column
from forgelog.pipelines.quality.checking import Checked, added_columns, described, quarantine_columns
from forgelog.pipelines.quality.conditions import identifier, literal

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class OfInput:
    """Rows of an input that are set aside before the stage reads them."""

    input: str
    query: str
    """Their columns ``f_rules``, ``f_reasons`` and ``f_row``."""


def with_rows_of_inputs(connection: duckdb.DuckDBPyConnection, table: Checked, inputs: Sequence[OfInput]) -> str | None:
    """The query of all rows that are set aside from a stage, with `quarantine_columns`: those of its own rules, and
    those of its inputs, as JSON. None: there is none."""
    if not inputs:
        return f"SELECT * FROM {identifier(table.quarantine)}" if table.quarantine is not None else None
    columns = described(connection, f"SELECT * FROM {identifier(table.clean)}")
    names = [identifier(name) for name in added_columns(columns)]
    if table.quarantine is not None:
        parts = [f"SELECT * FROM {identifier(table.quarantine)}"]
    else:
        empty = ", ".join(
            f"CAST(NULL AS {column.type}) AS {identifier(column.name)}" for column in quarantine_columns(columns)
        )
        parts = [f"SELECT {empty} WHERE false"]
    for each in inputs:
        values = ("f_rules", "f_reasons", literal(each.input), "f_row")
        said = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
        parts.append(f"SELECT {said} FROM ({each.query})")
    return " UNION ALL BY NAME ".join(parts)


def rows_of_source(input: str, source: Checked, columns: Sequence[Column]) -> OfInput:
    """Those that the rules of a source have set aside; `columns` are the source's."""
    assert source.quarantine is not None
    rules, reasons, *_ = map(identifier, added_columns(columns))
    return rows_of_input(input, source.quarantine, columns, rules, reasons)


def rows_of_input(input: str, relation: str, columns: Sequence[Column], rules: str, reasons: str) -> OfInput:
    """All of a relation; `rules` and `reasons` are expressions of lists of texts."""
    row = ", ".join(f"{literal(column.name)}: {identifier(column.name)}" for column in columns)
    said = f"{rules} AS f_rules, {reasons} AS f_reasons, CAST(to_json({{{row}}}) AS VARCHAR) AS f_row"
    return OfInput(input, f"SELECT {said} FROM {identifier(relation)}")
