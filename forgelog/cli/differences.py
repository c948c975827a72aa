"""Shows the differences between tables and a rebuild, row by row, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forgelog.cli.tables import cut, text_of

Row = Mapping[str, Any]

_VALUE = 60
"""Most characters of a value; the JSON output has all of it."""
_NUMBERS = frozenset({"task", "attempt"})
"""Columns that tell rows of one first column apart."""
_COLUMNS = 6
"""Most columns that are shown of a row that only one side has."""


def differences(table: str, rebuilt: Sequence[Row], live: Sequence[Row]) -> list[str]:
    """Lines about the rows that only one side has: those of the same key side by side, the others by themselves.

    `rebuilt`: rows that a rebuild has and the live table has not; `live`: the other way round.
    """
    lines: list[str] = []
    left = list(live)
    for row in rebuilt:
        other = _nearest(row, left)
        if other is None:
            lines.append(f"{table} {_name(row)}: not in the table; the log says {_columns(row)}")
            continue
        left.remove(other)
        for name in row:
            if row[name] != other.get(name):
                lines.append(
                    f"{table} {_name(row)}: {name} is {_shown(other.get(name))}, the log says {_shown(row[name])}"
                )
    lines += [f"{table} {_name(row)}: not in the log; the table says {_columns(row)}" for row in left]
    return lines


def _nearest(row: Row, others: Sequence[Row]) -> Row | None:
    """The row that is most like it, of those whose first column, the first of the table's key, is the same."""
    first = next(iter(row))
    same = [other for other in others if other.get(first) == row[first]]
    return max(same, key=lambda other: sum(other.get(name) == row[name] for name in row), default=None)


def _name(row: Row) -> str:
    first = next(iter(row))
    return " ".join(f"{name}={_shown(row[name])}" for name in row if name == first or name in _NUMBERS)


def _columns(row: Row) -> str:
    shown = [f"{name}={_shown(row[name])}" for name in list(row)[1 : 1 + _COLUMNS]]
    return ", ".join(shown) + (", ..." if len(row) > 1 + _COLUMNS else "")


def _shown(value: Any) -> str:
    return cut(" ".join(text_of(value).split()), _VALUE) or "empty"
