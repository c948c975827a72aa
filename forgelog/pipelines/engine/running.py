"""Runs a plan in DuckDB, and tells what a relation looks like and what a query would cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from events.language.pipelines.transformations import CacheLevel
from forgelog.pipelines.described import described_columns
from forgelog.pipelines.engine import frames
from forgelog.pipelines.engine.errors import explained
from forgelog.pipelines.engine.functions import (
    Functions,
    arguments,
    create_function,
    found,
    imported,
    raised,
    vectorized,
)
from forgelog.pipelines.engine.plan import Plan, Relation, Schema
from forgelog.pipelines.engine.sql import quoted
from forgelog.pipelines.problems import StageError


@dataclass(frozen=True, slots=True)
class Ran:
    """A plan that was run."""

    relation: str
    """The result: a view or a table of the connection."""
    plan: Plan
    """With all queries, those too that were not known before functions had run."""
    given: Mapping[str, str]
    """Functions' results that are queries over relations (frames of narwhals, DuckDB's relations): name → query."""
    took: Mapping[str, tuple[str, ...]]
    """The relations that each function took."""
    value: str = ""
    """What the result is if that is no table, as JSON; the relation has it in a row with the column ``value``."""


def run(
    connection: Any,
    plan: Plan,
    functions: Functions = imported,
    *,
    scratch: Path | None = None,
    keep: CacheLevel = CacheLevel.NONE,
) -> str:
    """Runs a plan. Returns the relation that holds the result. See `run_plan`."""
    return run_plan(connection, plan, functions, scratch=scratch, keep=keep).relation


def run_plan(
    connection: Any,
    plan: Plan,
    functions: Functions = imported,
    *,
    scratch: Path | None = None,
    keep: CacheLevel = CacheLevel.NONE,
    values: bool = False,
) -> Ran:
    """Runs a plan in a connection that has its inputs.

    1. Registers the functions that queries call.
    2. Makes the relations, in order, that must be there: those that are kept, and those that functions read. Calls the
       functions.
    3. Makes the result: a view, which computes it when it is read, or with `keep` a relation that holds it.

    scratch: where relations of `CacheLevel.DISK` are kept; the connection must be allowed to write there.
    values: whether the function whose result is that of the plan may give a plain value.

    Raises:
        StageError: of the transformation that failed. What a view computes fails when it is read: see `explained`.
    """
    for function, path in plan.udfs:
        code = vectorized(function, found(functions, function.module, function.function, path), path)
        create_function(connection, function, code, path)
    state = _State(connection, plan, functions, scratch, values, set(plan.inputs), {}, {})
    for nth in range(len(plan.relations)):
        relation = state.plan.relations[nth]
        if relation.spark:
            raise StageError(f"{relation.path}.custom.spark", "is Spark's SQL", "choose the engine spark, or write sql")
        if relation.call:
            state.call(relation)
        elif relation.cache is not CacheLevel.NONE:
            state.make(relation.name, relation.cache)
    if plan.output not in state.made:
        state.make(plan.output, keep)
    elif keep is not CacheLevel.NONE and plan.output in plan.inputs:
        return Ran(state.kept_copy(plan.output, keep), state.plan, state.given, state.took)
    return Ran(plan.output, state.plan, state.given, state.took, state.value)


def describe(connection: Any, relation: str) -> Schema:
    """The columns of a relation."""
    return described_columns((row[0], row[1]) for row in execute(connection, f"DESCRIBE {quoted(relation)}"))


def explain(connection: Any, query: str) -> str:
    """How DuckDB would run a query, as a drawing."""
    return "\n".join(row[1] for row in execute(connection, f"EXPLAIN {query}"))


def estimate(connection: Any, query: str) -> int:
    """How many rows DuckDB expects a query to give, by its statistics: without running it."""
    ((_, text),) = execute(connection, f"EXPLAIN (FORMAT json) {query}")
    root = json.loads(text)[0]
    while root.get("extra_info", {}).get("Estimated Cardinality") is None and root.get("children"):
        root = root["children"][0]
    return int(root.get("extra_info", {}).get("Estimated Cardinality") or 0)


def execute(connection: Any, text: str, field: str = "") -> list[tuple[Any, ...]]:
    """Runs a statement. Raises StageError in place of DuckDB's errors."""
    import duckdb

    try:
        rows: list[tuple[Any, ...]] = connection.execute(text).fetchall()
    except duckdb.Error as error:
        raise explained(error, field) from None
    return rows


@dataclass(slots=True)
class _State:
    connection: Any
    plan: Plan
    functions: Functions
    scratch: Path | None
    values: bool
    made: set[str]
    """Relations that the connection has."""
    given: dict[str, str]
    took: dict[str, tuple[str, ...]]
    value: str = ""

    def make(self, name: str, level: CacheLevel) -> None:
        relation = self.plan[name]
        self._keep(name, self.plan.select(name, self.made), level, relation.path)
        self.made.add(name)

    def kept_copy(self, name: str, level: CacheLevel) -> str:
        """A copy of an input, under a name that no relation can have."""
        copy = f"{name} kept"
        self._keep(copy, f"SELECT * FROM {quoted(name)}", level, f"inputs.{name}")
        return copy

    def _keep(self, name: str, query: str, level: CacheLevel, path: str) -> None:
        if level is CacheLevel.NONE:
            execute(self.connection, f"CREATE VIEW {quoted(name)} AS {query}", path)
        elif level is CacheLevel.MEMORY:
            execute(self.connection, f"CREATE TABLE {quoted(name)} AS {query}", path)
        else:
            if self.scratch is None:
                raise StageError(f"{path}.cache", "'disk' needs scratch space", "keep it in memory")
            file = str(self.scratch / f"kept-{name.replace(' ', '-')}.parquet").replace("'", "''")
            execute(self.connection, f"COPY ({query}\n) TO '{file}' (FORMAT parquet)", path)
            execute(self.connection, f"CREATE VIEW {quoted(name)} AS SELECT * FROM read_parquet('{file}')", path)

    def call(self, relation: Relation) -> None:
        """Calls a function, makes a relation of its result, and writes the queries that had to wait for its columns."""
        settings, field = relation.call, f"{relation.path}.custom.python"
        assert settings is not None
        code = found(self.functions, settings.module, settings.function, field)
        before = [*self.plan.inputs]
        for other in self.plan.relations:
            if other.name == relation.name:
                break
            before.append(other.name)
        named, values = arguments(code, relation, before, field)
        for name in named.values():
            if name not in self.made:
                self.make(name, CacheLevel.NONE)
        self.took[relation.name] = tuple(named.values())
        taken = {arg: frames.frame(self.connection, name, settings.frame, field) for arg, name in named.items()}
        try:
            result = code(**taken, **values)
            if self.values and relation.name == self.plan.output:
                self.value = frames.value_of(result, f"{field}.function") or ""
                result = [self.value] if self.value else result
            text = frames.take(self.connection, relation.name, result, f"{field}.function")
        except StageError:
            raise
        except Exception as error:
            import duckdb

            if isinstance(error, duckdb.Error):
                raise explained(error, f"{field}.function") from error
            raise StageError(
                f"{field}.function", f"{settings.function} raised {raised(error)}", "mend the function"
            ) from error
        self.made.add(relation.name)
        if text:
            self.given[relation.name] = text
        columns = describe(self.connection, relation.name)
        if settings.columns:
            _declared(settings.columns, columns, field)
        if relation.cache is not CacheLevel.NONE and text:
            self._materialize(relation, text)
        self.plan = self.plan.with_columns(relation.name, columns)

    def _materialize(self, relation: Relation, text: str) -> None:
        execute(self.connection, f"DROP VIEW {quoted(relation.name)}", relation.path)
        self._keep(relation.name, text, relation.cache, relation.path)


def _declared(declared: Schema, columns: Schema, field: str) -> None:
    """Raises StageError if a function's result has other columns than were declared."""
    wanted = [(column.name, column.type.upper()) for column in declared]
    got = [(column.name, column.type.upper()) for column in columns]
    if wanted == got:
        return
    said = ", ".join(f"{name} {kind}" for name, kind in got)
    raise StageError(f"{field}.columns", f"are not those of its result, which has {said}", "declare these, in order")
