"""Settings of the transformations that compute relations of relations: map, filter, join, aggregate, window and sort.

Expressions are DuckDB's SQL over the columns of what is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import shown
from events.language.pipelines.columns import ColumnName, ColumnType, OptionalSql, Sql

RelationName = Annotated[
    str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*$", max_length=63), Field(examples=["orders"])
]
"""How SQL and functions name an input of a stage or a transformation: 1-63 lower-case letters, digits and ``_``."""

Columns = Annotated[tuple[ColumnName, ...], Field(max_length=1_000)]


def once(field: str, names: Iterable[str]) -> None:
    """Raises ValueError if two of the names are the same to SQL, which knows no upper and lower case."""
    seen: set[str] = set()
    for name in names:
        if (folded := name.casefold()) in seen:
            raise ValueError(f"{field} names {shown(name)} twice; leave one out")
        seen.add(folded)


class JoinType(StrEnum):
    """Which rows a join keeps."""

    INNER = "inner"
    """Pairs only."""
    LEFT = "left"
    """All rows of the left relation."""
    RIGHT = "right"
    """All rows of the right relation."""
    FULL = "full"
    """All rows of both."""
    SEMI = "semi"
    """Rows of the left relation that have a partner; no column of the right one."""
    ANTI = "anti"
    """Rows of the left relation that have no partner; no column of the right one."""
    CROSS = "cross"
    """Each row of the left with each of the right."""


class NullsOrder(StrEnum):
    """Where rows without a value stand in an order."""

    LAST = "last"
    FIRST = "first"


class FrameUnit(StrEnum):
    """How a window's frame is counted."""

    ROWS = "rows"
    """By rows."""
    RANGE = "range"
    """By value: rows that are equal in the order are in the frame together."""


class ComputedColumn(Model):
    """A column and how it is computed."""

    name: ColumnName
    expression: Sql


class ColumnCast(Model):
    """A column and the type that it gets."""

    name: ColumnName
    type: ColumnType
    lenient: bool = False
    """Whether a value that can't be converted becomes null; else it fails the stage."""


class ColumnRename(Model):
    """A column's old and new name."""

    name: ColumnName
    to: ColumnName


class SortKey(Model):
    """One key of an order."""

    expression: Sql
    """A column's name, or what is computed of columns."""
    descending: bool = False
    nulls: NullsOrder = NullsOrder.LAST
    """The default is last, whether ascending or descending."""


class MapSettings(Model):
    """Row by row: `cast`, then `columns`, then `keep` or `drop`, then `rename`. Each of them names columns as the one
    before it left them."""

    cast: tuple[ColumnCast, ...] = Field(default=(), max_length=1_000)
    columns: tuple[ComputedColumn, ...] = Field(default=(), max_length=1_000)
    """A column of a name that there is already takes its place; others come after the last. Each expression sees the
    columns as they were before any of these."""
    keep: Columns = ()
    """The only columns that stay, in this order; empty: all."""
    drop: Columns = ()
    """Columns that go. Not with `keep`."""
    rename: tuple[ColumnRename, ...] = Field(default=(), max_length=1_000)

    @model_validator(mode="after")
    def _plain(self) -> MapSettings:
        if self.keep and self.drop:
            raise ValueError("keep and drop both say which columns stay; give one of them")
        if not (self.cast or self.columns or self.keep or self.drop or self.rename):
            raise ValueError("changes nothing; give cast, columns, keep, drop or rename")
        once("cast", (entry.name for entry in self.cast))
        once("columns", (entry.name for entry in self.columns))
        once("keep", self.keep)
        once("drop", self.drop)
        once("rename", (entry.name for entry in self.rename))
        return self


class FilterSettings(Model):
    """Keeps rows."""

    where: Sql
    """A condition. Rows for which it is false or null go."""


class JoinSettings(Model):
    """Joins what the transformation reads (left) with another relation (right)."""

    right: RelationName
    type: JoinType = JoinType.INNER
    using: Columns = ()
    """Columns that both have and that must be equal. The result has each once. Of `using` and `on` one is given."""
    on: OptionalSql = ""
    """A condition on columns of both, written with the relations' names: ``orders.customer = customers.id``."""
    suffix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,40}$")] = "_right"
    """Goes behind the names of the right relation's columns that the left one has too."""

    @model_validator(mode="after")
    def _condition(self) -> JoinSettings:
        given = bool(self.using) + bool(self.on.strip())
        if self.type is JoinType.CROSS:
            if given:
                raise ValueError("a cross join has no condition; leave using and on out, or choose another type")
        elif given != 1:
            raise ValueError("using and on each say which rows belong together; give one of them")
        once("using", self.using)
        return self


class AggregateSettings(Model):
    """Makes one row of each group. The result has the columns of `group_by`, then those of `columns`."""

    group_by: Columns = ()
    """Rows that are equal in these columns are a group; nulls are equal. Empty: all rows are one group."""
    columns: tuple[ComputedColumn, ...] = Field(default=(), max_length=1_000)
    """Aggregates, such as ``sum(price * quantity)``."""
    having: OptionalSql = ""
    """A condition on groups. Others go."""

    @model_validator(mode="after")
    def _something(self) -> AggregateSettings:
        if not (self.group_by or self.columns):
            raise ValueError("makes no column; give group_by or columns")
        once("group_by", self.group_by)
        once("group_by and columns", (*self.group_by, *(entry.name for entry in self.columns)))
        return self


class WindowFrame(Model):
    """Which neighbours of a row count."""

    unit: FrameUnit = FrameUnit.ROWS
    preceding: Annotated[int, Field(ge=0, le=1 << 31)] | None = None
    """How many before the row; null: all."""
    following: Annotated[int, Field(ge=0, le=1 << 31)] = 0
    """How many after it."""
    to_end: bool = False
    """Whether all after it count, whatever `following` says."""

    @model_validator(mode="after")
    def _counted(self) -> WindowFrame:
        if self.unit is FrameUnit.RANGE and (self.preceding or self.following):
            ends = "begins and ends at the row's equals (0) or has no end (preceding: null, to_end: true)"
            raise ValueError(f"a frame of unit 'range' {ends}")
        return self


class WindowSettings(Model):
    """Adds columns computed over each row's neighbours in its partition. No row goes, if `keep` doesn't say so."""

    partition_by: Columns = ()
    """Rows that are equal in these are each other's neighbours. Empty: all are."""
    order_by: tuple[SortKey, ...] = Field(default=(), max_length=100)
    frame: WindowFrame | None = None
    """None: the whole partition, or with an order all up to the row and its equals."""
    columns: tuple[ComputedColumn, ...] = Field(min_length=1, max_length=1_000)
    """Each expression is one call of an aggregate or window function, such as ``row_number()`` or ``lag(price)``. The
    window is added to it."""
    keep: OptionalSql = ""
    """A condition that may use the new columns, such as ``position = 1``. Other rows go."""

    @model_validator(mode="after")
    def _names(self) -> WindowSettings:
        once("columns", (entry.name for entry in self.columns))
        return self


class SortSettings(Model):
    """Orders rows."""

    by: tuple[SortKey, ...] = Field(min_length=1, max_length=100)
    limit: Annotated[int, Field(ge=1, le=1 << 62)] | None = None
    """Most rows; None: all."""
    offset: Annotated[int, Field(ge=0, le=1 << 62)] = 0
    """How many of the first rows go."""
