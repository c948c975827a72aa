"""Rules of data quality on a node: `check` evaluates them and divides a table's rows into clean ones and the rest."""

from __future__ import annotations

from forgelog.pipelines.quality.checking import Checked, check, quarantine_columns

__all__ = ["Checked", "check", "quarantine_columns"]
