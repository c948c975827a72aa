"""Rules of data quality on a node: `check` evaluates them and divides a table's rows into clean ones and the rest."""

from __future__ import annotations

from forgelog.pipelines.quality.checking import Checked, check, quarantine_columns
from forgelog.pipelines.quality.of_inputs import OfInput, rows_of_input, rows_of_source, with_rows_of_inputs

__all__ = [
    "Checked",
    "OfInput",
    "check",
    "quarantine_columns",
    "rows_of_input",
    "rows_of_source",
    "with_rows_of_inputs",
]
