"""A stage's transformations as a plan: relations, each a query over others or a call of a function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from events.language.pipelines.columns import Column
from events.language.pipelines.transformations import CacheLevel, Hints, PythonFunction, UserFunction
from forgelog.pipelines.engine.sql import quoted

Schema = tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """What one transformation makes."""

    name: str
    path: str
    """The transformation's field, such as ``transformations[2]``: errors name it."""
    reads: tuple[str, ...]
    """Inputs and earlier relations that a query reads; of a function, what it reads if its arguments name none."""
    columns: Schema | None
    """None: known when it runs only."""
    query: str = ""
    """Its query, over what it reads. Empty of a call, of Spark's SQL, and while columns that it reads are unknown."""
    call: PythonFunction | None = None
    spark: str = ""
    """A query in Spark's own SQL."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The values that a function's arguments may be named after."""
    cache: CacheLevel = CacheLevel.NONE
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run for a stage.

    A relation whose columns depend on what a function gives back has no query yet. `with_columns` makes the plan in
    which it has one.
    """

    inputs: Mapping[str, Schema]
    relations: tuple[Relation, ...]
    output: str
    """The relation that the stage gives: its last transformation, or its only input."""
    udfs: tuple[tuple[UserFunction, str], ...]
    """Functions that queries call, each once, with its field."""
    functions: frozenset[str]
    """What functions queries call, DuckDB's own among them."""
    compiled: Callable[[Mapping[str, Schema]], Plan]
    """Makes the plan anew, with these columns of inputs and functions' results."""

    @property
    def sql(self) -> str:
        """The output as one query over inputs and functions' results."""
        return self.select(self.output, self.roots)

    @property
    def python_steps(self) -> tuple[Relation, ...]:
        """The functions to call, in order."""
        return tuple(relation for relation in self.relations if relation.call)

    @property
    def roots(self) -> frozenset[str]:
        """The relations that are no queries of others: inputs and functions' results."""
        return frozenset(self.inputs) | {relation.name for relation in self.relations if not relation.query}

    @property
    def columns(self) -> Schema | None:
        """The output's columns; None: known when it runs only."""
        if self.output in self.inputs:
            return self.inputs[self.output]
        return next((relation.columns for relation in self.relations if relation.name == self.output), None)

    @property
    def complete(self) -> bool:
        """Whether all queries are known."""
        return all(relation.query or relation.call or relation.spark for relation in self.relations)

    def __getitem__(self, name: str) -> Relation:
        return next(relation for relation in self.relations if relation.name == name)

    def select(self, name: str, made: Collection[str]) -> str:
        """A relation as one query over the relations `made`. Each in between is a common table expression."""
        if name in made:
            return f"SELECT * FROM {quoted(name)}"
        needed = [relation for relation in self.relations if relation.name in set(self._above(name, made))]
        *before, last = needed
        if not before:
            return last.query
        parts = ",\n".join(f"{quoted(relation.name)} AS (\n{relation.query}\n)" for relation in before)
        return f"WITH {parts}\n{last.query}" if not _has_with(last.query) else _wrapped(parts, last)

    def with_columns(self, name: str, columns: Schema) -> Plan:
        """The plan in which a function's result has these columns."""
        known = {relation.name: relation.columns for relation in self.relations if relation.call and relation.columns}
        return self.compiled({**self.inputs, **known, name: columns})

    def _above(self, name: str, made: Collection[str]) -> Iterator[str]:
        seen = set()
        waiting = [name]
        while waiting:
            if (here := waiting.pop()) in seen or here in made:
                continue
            seen.add(here)
            yield here
            waiting += self[here].reads


def _has_with(query: str) -> bool:
    return query.lstrip(" \n\t(").lower().startswith("with") or query.lstrip().startswith(("--", "/*"))


def _wrapped(parts: str, last: Relation) -> str:
    name = quoted(last.name)
    return f"WITH {parts},\n{name} AS (\n{last.query}\n)\nSELECT * FROM {name}"
