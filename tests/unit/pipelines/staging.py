"""Stages' transformations run in a DuckDB with small inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from events.language.pipelines.columns import Column
from events.language.pipelines.transformations import Transformation
from forgelog.pipelines import engine
from forgelog.pipelines.engine.running import Ran

MEMORY = 256 << 20


def chain(*entries: dict[str, Any]) -> tuple[Transformation, ...]:
    """Transformations; the type is the one whose settings are given."""
    made = []
    for entry in entries:
        kind = next(key for key in entry if key in ("map", "filter", "join", "aggregate", "window", "sort", "custom"))
        made.append(Transformation.model_validate({"type": kind, **entry}))
    return tuple(made)


def columns(text: str) -> tuple[Column, ...]:
    """Columns from ``name TYPE, name TYPE``."""
    pairs = (part.strip().split(" ", 1) for part in text.split(", "))
    return tuple(Column(name=name, type=kind) for name, kind in pairs)


class Stage:
    """Inputs as tables, in a locked connection."""

    def __init__(self, scratch: Path, inputs: Mapping[str, str], functions: Mapping[str, Any] | None = None) -> None:
        """`inputs`: each a query that makes its rows."""
        self.scratch = scratch
        self.connection = engine.open_connection(MEMORY, 1, scratch)
        for name, query in inputs.items():
            self.connection.execute(f'CREATE TABLE "{name}" AS {query}')
        engine.lock(self.connection)
        self.inputs = tuple(inputs)
        self.schemas = {name: engine.describe(self.connection, name) for name in inputs}
        self._functions = functions or {}

    def plan(self, *entries: dict[str, Any], **parameters: Any) -> engine.Plan:
        return engine.compile_transformations(chain(*entries), self.inputs, self.schemas, parameters)

    def ran(self, *entries: dict[str, Any], **parameters: Any) -> Ran:
        return engine.run_plan(self.connection, self.plan(*entries, **parameters), self.function, scratch=self.scratch)

    def rows(self, *entries: dict[str, Any], **parameters: Any) -> list[tuple[Any, ...]]:
        """What the stage gives."""
        return self.query(self.ran(*entries, **parameters).relation)

    def query(self, relation: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.connection.execute(f'FROM "{relation}"').fetchall()
        return found

    def function(self, module: str, name: str) -> Any:
        """The functions that were given, as those of the module ``code``."""
        if module != "code":
            raise ModuleNotFoundError(name=module)
        if name not in self._functions:
            raise AttributeError(f"module 'code' has no attribute {name!r}")
        return self._functions[name]
