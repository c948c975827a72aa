"""Columns of a dataset with their statistics, and what differs between two versions, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from forgelog.cli.render import Column, Format, column, note, show_rows, write
from forgelog.drift import step_text

if TYPE_CHECKING:
    from forgelog.drift import DatasetComparison, Drift

__all__ = ["show_columns", "show_compared", "step_text"]

_FREQUENT = 5
"""Most values of a column that are shown with their shares."""


def show_columns(found: Mapping[str, Any]) -> None:
    """A line for each column of a version; nothing if it has none."""
    types, statistics = found["columns"], found["statistics"]
    names = [*types, *(name for name in statistics if name not in types)]
    if not names:
        return
    rows = [{"column": name, "type": types.get(name, ""), **(statistics.get(name) or {})} for name in names]
    columns = [
        column("Column", least=8),
        column("Type", rank=2),
        column("Missing", "nulls", right=True, rank=1),
        column("Distinct", right=True, rank=3),
        Column("Mean", lambda row: _number(row.get("mean")), right=True, rank=4),
        Column("Deviation", lambda row: _number(row.get("deviation")), right=True, rank=5),
        Column("Least", lambda row: _number(row.get("least")), right=True, rank=6),
        Column("Most", lambda row: _number(row.get("most")), right=True, rank=6),
        Column("Values", lambda row: ", ".join(_shares(row)), rank=7),
    ]
    write("\n")
    show_rows(rows, columns, Format.TABLE)


def show_compared(found: DatasetComparison) -> None:
    """What differs, then how far the columns are from what they were."""
    changes = list(_changes(found))
    if changes:
        columns = [column("What"), column("", "name"), column(found.before, "before"), column(found.now, "now")]
        show_rows(changes, columns, Format.TABLE)
        write("\n")
    rows = [{"column": each.column, "measure": each.measure, "drift": each} for each in found.columns]
    columns = [
        column("Column", least=8),
        column("Measure"),
        Column(found.before, lambda row: _number(row["drift"].before), right=True, rank=1),
        Column(found.now, lambda row: _number(row["drift"].now), right=True, rank=1),
        Column("Value", lambda row: _number(row["drift"].value), right=True),
        Column("Limit", lambda row: _number(row["drift"].limit), right=True, rank=2),
        Column("Result", lambda row: _result(row["drift"])),
    ]
    show_rows(rows, columns, Format.TABLE, empty="there are no statistics of a column in both versions")
    if found.unmeasured:
        note(f"nothing to compare of {', '.join(found.unmeasured)}")
    many = len(found.drifted)
    note(f"{many} column{'' if many == 1 else 's'} drifted{': ' if many else ''}{', '.join(found.drifted)}")


def _changes(found: DatasetComparison) -> Iterator[dict[str, Any]]:
    if found.samples[0] != found.samples[1]:
        yield {"what": "samples", "name": "", "before": found.samples[0], "now": found.samples[1]}
    for name, (before, now) in found.splits.items():
        yield {"what": "split", "name": name, "before": before, "now": now}
    for change in found.schema:
        yield {"what": "column", "name": change.column, "before": change.before or "-", "now": change.now or "-"}
    for step in found.steps:
        yield {"what": "step", "name": step.place, "before": step.before or "-", "now": step.now or "-"}


def _result(drift: Drift) -> str:
    if not drift.drifted:
        return "chance" if drift.value > drift.limit else ""
    named = f", most of {drift.kind!r}" if drift.kind else ""
    return f"drifted{named}"


def _shares(row: Mapping[str, Any]) -> Iterator[str]:
    if count := row.get("count"):
        for value, often in sorted((row.get("frequent") or {}).items(), key=lambda each: -each[1])[:_FREQUENT]:
            yield f"{value} {often / count:.0%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
