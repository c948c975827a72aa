"""What a stage does with its rows: transformations of seven types, each a relation that later ones can read.

A transformation reads the stage's inputs and earlier transformations by their names. Expressions are DuckDB's SQL,
whichever engine runs them. `$day` in an expression is the value of the pipeline's parameter `day`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import DisplayName, FieldError, shown
from events.language.pipelines.columns import Column, ColumnType
from events.language.pipelines.relational import (
    AggregateSettings,
    Columns,
    FilterSettings,
    JoinSettings,
    MapSettings,
    RelationName,
    SortSettings,
    WindowSettings,
    once,
)

OptionalRelation = Annotated[str, StringConstraints(pattern=r"^$|^[a-z_][a-z0-9_]*$", max_length=63)]
"""A `RelationName`, or empty."""

ModuleName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=250),
    Field(examples=["cleaning.rows"]),
]
"""A Python module by its full name."""

FunctionName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=120), Field(examples=["clean"])
]
"""A function of a Python module."""


class TransformationType(StrEnum):
    """What a transformation does."""

    MAP = "map"
    """Computes, casts, renames and drops columns, row by row."""
    FILTER = "filter"
    """Keeps the rows for which a condition is true."""
    JOIN = "join"
    """Puts rows of two relations together."""
    AGGREGATE = "aggregate"
    """Makes one row of each group."""
    WINDOW = "window"
    """Adds columns computed over each row's neighbours."""
    SORT = "sort"
    """Orders rows, and may keep the first ones only."""
    CUSTOM = "custom"
    """A query, or a Python function."""


class FrameType(StrEnum):
    """As what a Python function gets its relations."""

    NARWHALS = "narwhals"
    """A lazy frame of narwhals over the engine's own relation: it runs as SQL, and its columns' origins are known."""
    ARROW = "arrow"
    """A table of pyarrow, whole in memory."""
    READER = "reader"
    """A record batch reader of pyarrow: batches one after the other, in bounded memory."""
    POLARS = "polars"
    """A lazy frame of Polars, which needs `polars`. Polars computes decimals in another way than SQL."""
    PANDAS = "pandas"
    """A data frame of pandas, which needs `pandas`."""
    RELATION = "relation"
    """DuckDB's own relation; with the engine `duckdb` only."""
    SPARK = "spark"
    """A data frame of Spark; with the engine `spark` only."""


class CacheLevel(StrEnum):
    """Where a transformation's rows are kept while its stage runs."""

    NONE = "none"
    """Nowhere: computed anew for each reader."""
    MEMORY = "memory"
    """In memory, as far as there is room; the rest in scratch space."""
    DISK = "disk"
    """In scratch space."""


class PythonFunction(Model):
    """A function of the pipeline's code that takes relations and gives one back.

    Its arguments are found by their names: inputs of the stage and earlier transformations as frames, then
    `Transformation.parameters`, then the pipeline's parameters. If no argument is named after a relation, the first
    one without such a value is what the transformation reads.
    """

    module: ModuleName
    function: FunctionName
    frame: FrameType = FrameType.NARWHALS
    columns: tuple[Column, ...] = Field(default=(), max_length=1_000)
    """What it gives back, which is checked. Empty: whatever comes, and then the transformations after it can be checked
    when it runs only."""


class CustomSettings(Model):
    """A query or a function. One of them is given."""

    sql: Annotated[str, StringConstraints(max_length=100_000)] = ""
    """One SELECT of DuckDB's SQL that reads inputs and earlier transformations by name, and nothing else."""
    python: PythonFunction | None = None
    spark: Annotated[str, StringConstraints(max_length=100_000)] = ""
    """One SELECT of Spark's own SQL; with the engine `spark` only. For Spark's data frames see `python` with the frame
    `spark`."""
    columns: tuple[Column, ...] = Field(default=(), max_length=1_000)
    """Of `spark`: what it gives back, where that is to be checked before it runs."""

    @model_validator(mode="after")
    def _one(self) -> CustomSettings:
        if bool(self.sql.strip()) + bool(self.spark.strip()) + (self.python is not None) != 1:
            raise ValueError("sql, python and spark each say what to do; give one of them")
        if self.columns and not self.spark.strip():
            raise ValueError("columns belongs to spark; a function's are python.columns, and a query's are known")
        return self


class UserFunction(Model):
    """A function of the pipeline's code that SQL may call: from arrays to an array of the same length.

    It gets a pyarrow array for each argument and gives one back, a batch of rows at a time.
    """

    name: RelationName
    """How SQL calls it. No built-in function's."""
    module: ModuleName
    function: FunctionName
    arguments: tuple[ColumnType, ...] = Field(default=(), max_length=100)
    """The types of its arguments."""
    returns: ColumnType
    handles_null: bool = False
    """Whether it is called for rows in which an argument is null; else the result of these is null."""
    deterministic: bool = True
    """Whether equal arguments give equal results: then a call on constants is made once."""


class Repartition(Model):
    """How Spark spreads rows over its tasks."""

    partitions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """None: as many as Spark chooses."""
    columns: Columns = ()
    """Rows that are equal in these go together."""

    @model_validator(mode="after")
    def _something(self) -> Repartition:
        if self.partitions is None and not self.columns:
            raise ValueError("says nothing; give partitions or columns")
        return self


class Hints(Model):
    """What a person knows of the data and an engine can't. No result depends on it. DuckDB needs none of these."""

    broadcast: Annotated[tuple[RelationName, ...], Field(max_length=100)] = ()
    """Relations that are small enough to be sent whole to each of Spark's executors."""
    repartition: Repartition | None = None
    """Of the transformation's own rows."""


class Transformation(Model):
    """One step from relations to a relation, which has the transformation's id as its name."""

    id: OptionalRelation = ""
    """Its name to later ones; empty: ``t1`` for the first of its stage, ``t2`` for the second, and so on."""
    name: DisplayName | None = None
    """What people call it."""
    type: TransformationType
    input: OptionalRelation = ""
    """What it reads: an input of the stage or an earlier transformation. Empty: the one before it, or the stage's only
    input if it is the first."""
    map: MapSettings | None = None
    filter: FilterSettings | None = None
    join: JoinSettings | None = None
    aggregate: AggregateSettings | None = None
    window: WindowSettings | None = None
    sort: SortSettings | None = None
    custom: CustomSettings | None = None
    parameters: Annotated[dict[RelationName, Any], Field(max_length=100)] = Field(default_factory=dict)
    """Values of its own for ``$name`` in SQL, and for a function's arguments: texts, numbers, true, false or null. They
    go before the pipeline's parameters."""
    udfs: tuple[UserFunction, ...] = Field(default=(), max_length=100)
    """Functions that its SQL calls."""
    cache: CacheLevel = CacheLevel.NONE
    hints: Hints = Hints()

    @model_validator(mode="after")
    def _settings_of_its_type(self) -> Transformation:
        given = [str(kind) for kind in TransformationType if getattr(self, kind) is not None]
        if given != [self.type]:
            wrong = [kind for kind in given if kind != self.type]
            said = f"has settings of type {wrong[0]!r}" if wrong else f"has no {self.type}"
            raise ValueError(f"type is {str(self.type)!r} but it {said}; give the settings {str(self.type)!r} alone")
        for name, value in self.parameters.items():
            if value is not None and not isinstance(value, str | int | float | bool):
                raise ValueError(f"parameters.{name} is {shown(value)}; give a text, a number, true, false or null")
        once("udfs", (function.name for function in self.udfs))
        return self

    @property
    def settings(self) -> Model:
        """The settings of its type."""
        found: Model = getattr(self, self.type)
        return found


def named(transformations: tuple[Transformation, ...]) -> tuple[str, ...]:
    """The transformations' names, in order: their ids, or their places for those that have none."""
    return tuple(entry.id or f"t{place}" for place, entry in enumerate(transformations, start=1))


def chain_problems(
    transformations: tuple[Transformation, ...], inputs: tuple[str, ...], path: str = "transformations"
) -> list[FieldError]:
    """What is wrong with a stage's transformations beside each other. `path` is theirs, for the fields' names.

    A name is given once, among inputs too; what is read is an input or an earlier transformation; and the first says
    what it reads if there isn't one input.
    """
    found: list[FieldError] = []
    known = list(inputs)

    def say(place: int, field: str, problem: str, hint: str) -> None:
        found.append(FieldError(field=f"{path}[{place}].{field}", problem=problem, hint=hint))

    for place, (name, entry) in enumerate(zip(named(transformations), transformations, strict=True)):
        reads = [("input", entry.input)] if entry.input else []
        if entry.join:
            reads.append(("join.right", entry.join.right))
        reads += [(f"hints.broadcast[{nth}]", hint) for nth, hint in enumerate(entry.hints.broadcast)]
        for field, relation in reads:
            if relation not in known:
                hint = f"known are {', '.join(known)}" if known else "give the stage inputs"
                say(place, field, f"there is no relation {relation!r} before it", hint)
        if place == 0 and not entry.input and entry.custom is None and len(inputs) != 1:
            say(place, "input", f"is not given, and the stage has {len(inputs)} inputs", "name what it reads")
        if entry.join and known and entry.join.right == (entry.input or known[-1]):
            say(place, "join.right", "is what it reads itself", "join a relation with itself by a custom query")
        if name in known:
            say(place, "id", f"there is a relation {name!r} already", "give it another id")
        known.append(name)
    return found
