"""Columns of tables: names, types, and pieces of SQL over them. Types are DuckDB's, in its own words."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from events.language.base import Model
from events.language.common import shown

MAX_COLUMNS = 2_000
"""Most columns of a table."""

MAX_SQL = 10_000
"""Most characters of a piece of SQL, such as a condition."""


def _visible(name: str) -> str:
    if not name.strip() or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise ValueError(f"{shown(name)} is no column's name; give one of visible characters")
    return name


ColumnName = Annotated[
    str, StringConstraints(min_length=1, max_length=255), AfterValidator(_visible), Field(examples=["amount"])
]
"""1 to 255 characters without control characters. Upper and lower case differ."""

ColumnType = Annotated[
    str,
    StringConstraints(min_length=1, max_length=10_000, strip_whitespace=True),
    AfterValidator(_visible),
    Field(examples=["DECIMAL(18,2)"]),
]
"""A type as DuckDB writes it, such as ``BIGINT``, ``DECIMAL(18,2)``, ``VARCHAR[]`` or ``STRUCT(a INTEGER)``."""

Sql = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SQL)]
"""A piece of DuckDB's SQL, such as a condition."""

OptionalSql = Annotated[str, StringConstraints(max_length=MAX_SQL)]


class Column(Model):
    """A column of a table."""

    name: ColumnName
    type: ColumnType
    nullable: bool = True
    """Whether values may be missing."""
