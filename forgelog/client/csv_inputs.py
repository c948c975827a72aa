"""Inputs of a prediction as a table of text: a header, and a line for each row. Pure.

Each column is the input of its name; where the model has one input for all numbers of a row, the columns are its
numbers, in their order.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgelog.errors import InvalidInput
from forgelog.units import quoted

_LONGEST = 1 << 20
"""Characters of a cell."""
_WORDS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The cells of a file."""

    where: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, list[str]], ...]
    """The line where each ends, and its cells."""


def read_table(text: bytes, where: str) -> CsvTable:
    """Raises `InvalidInput`."""
    try:
        content = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where}: is no UTF-8 text at byte {error.start}") from None
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        header = [each.strip() for each in next(reader, [])]
        rows = tuple((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise InvalidInput(f"{where}: line {reader.line_num}: is no CSV: {error}") from None
    if not rows:
        raise InvalidInput(f"{where}: has no row; write the columns' names in the first line, and a line for each row")
    if twice := next((name for name in header if header.count(name) > 1), ""):
        raise InvalidInput(f"{where}: two columns are called {quoted(twice)}; give each its own name")
    for line, cells in rows:
        if len(cells) != len(header):
            raise InvalidInput(
                f"{where}: line {line} has {len(cells)} values, and the header names {len(header)}; give as many"
            )
    return CsvTable(where, tuple(header), rows)


def inputs_of(table: CsvTable, described: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Input → values, as the model describes its inputs. Raises `InvalidInput`."""
    where, names = table.where, {each["name"]: each for each in described}
    if not names:
        raise InvalidInput(f"{where}: the deployment does not say which inputs it has; write a request as JSON")
    if len(described) == 1 and len(described[0]["shape"]) == 2:
        return _matrix(table, described[0])
    if nested := next((name for name, each in names.items() if len(each["shape"]) != 1), ""):
        shape = list(names[nested]["shape"])
        raise InvalidInput(
            f"{where}: input {quoted(nested)} has the shape {shape}, and a column is one value a row; write JSON, such "
            'as {"x": [[1, 2]]}'
        )
    if unknown := next((name for name in table.columns if name not in names), None):
        raise InvalidInput(
            f"{where}: column {quoted(unknown)} is no input of the model; they are {', '.join(names)}; leave it out"
        )
    return {
        name: [_value(table, line, name, cells[at], names[name]["datatype"]) for line, cells in table.rows]
        for at, name in enumerate(table.columns)
    }


def _matrix(table: CsvTable, described: Mapping[str, Any]) -> dict[str, Any]:
    name, (_, width) = described["name"], described["shape"]
    if width not in (-1, len(table.columns)):
        raise InvalidInput(
            f"{table.where}: has {len(table.columns)} columns, and a row of the model's input {quoted(name)} has "
            f"{width} values; give as many"
        )
    kind = described["datatype"]
    return {
        name: [
            [_value(table, line, column, cell, kind) for column, cell in zip(table.columns, cells, strict=True)]
            for line, cells in table.rows
        ]
    }


def _value(table: CsvTable, line: int, column: str, cell: str, datatype: str) -> Any:
    if datatype == "BYTES":
        return cell
    convert, what = _kind(datatype)
    try:
        return convert(cell.strip())
    except (ValueError, KeyError):
        raise InvalidInput(
            f"{table.where}: line {line}, column {quoted(column)}: {quoted(cell)} is no {what}; give one"
        ) from None


def _kind(datatype: str) -> tuple[Callable[[str], Any], str]:
    if datatype == "BOOL":
        return lambda cell: _WORDS[cell.lower()], "true or false"
    if datatype.startswith(("INT", "UINT")):
        return int, "whole number"
    return _number, "finite number"


def _number(cell: str) -> float:
    if not math.isfinite(found := float(cell)):
        raise ValueError(cell)
    return found
