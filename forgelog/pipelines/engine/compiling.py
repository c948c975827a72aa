"""Makes a plan of a stage's transformations: each becomes a query in DuckDB's SQL, or a call of a function.

Needs no data: it asks DuckDB for the columns of each query over empty tables. So a wrong name, a wrong type or a
function that there is none of is found here, with the field that has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from events.language.pipelines.transformations import (
    CustomSettings,
    Transformation,
    TransformationType,
    UserFunction,
    chain_problems,
    named,
)
from forgelog.pipelines.engine import relational, sql
from forgelog.pipelines.engine.binder import Binder, binder
from forgelog.pipelines.engine.plan import Plan, Relation, Schema
from forgelog.pipelines.engine.relational import Writer
from forgelog.pipelines.problems import StageError


class Transformed(Protocol):
    """What a plan is made of: a stage (`StageSpec`), or a part of one."""

    @property
    def transformations(self) -> tuple[Transformation, ...]: ...

    @property
    def inputs(self) -> Mapping[str, Any]: ...


def compile(stage: Transformed, schemas: Mapping[str, Schema], parameters: Mapping[str, Any]) -> Plan:
    """The plan of a stage. `schemas`: the columns of each input, and of functions' results that are known already.
    Without an input's columns the plan can't be run; it tells what can be told.

    Raises:
        StageError: of the first transformation that is wrong. The field begins with ``transformations[N]``.
    """
    return compile_transformations(stage.transformations, tuple(stage.inputs), schemas, parameters)


def compile_transformations(
    transformations: tuple[Transformation, ...],
    inputs: tuple[str, ...],
    schemas: Mapping[str, Schema],
    parameters: Mapping[str, Any],
) -> Plan:
    """See `compile`."""
    for error in chain_problems(transformations, inputs):
        raise StageError(error.field, error.problem, error.hint)
    if not transformations and len(inputs) != 1:
        raise StageError(
            "transformations", f"are none, and the stage has {len(inputs)} inputs", "say what becomes of its inputs"
        )
    udfs = _functions(transformations)
    with binder(udfs) as bound:
        made = _Compiler(bound, schemas, parameters)
        for name in inputs:
            if name in schemas:
                bound.add(name, schemas[name], f"inputs.{name}")
                made.known[name] = schemas[name]
            made.order.append(name)
        relations = tuple(
            made.add(name, entry, f"transformations[{nth}]")
            for nth, (name, entry) in enumerate(zip(named(transformations), transformations, strict=True))
        )

    def again(columns: Mapping[str, Schema]) -> Plan:
        return compile_transformations(transformations, inputs, {**schemas, **columns}, parameters)

    return Plan(
        inputs={name: schemas[name] for name in inputs if name in schemas},
        relations=relations,
        output=made.order[-1],
        udfs=udfs,
        functions=frozenset(made.functions),
        compiled=again,
    )


@dataclass(slots=True)
class _Compiler:
    bound: Binder
    schemas: Mapping[str, Schema]
    parameters: Mapping[str, Any]
    known: dict[str, Schema] = field(default_factory=dict)
    """The columns of the relations so far, where they are known before it runs."""
    order: list[str] = field(default_factory=list)
    """Inputs and the relations so far."""
    functions: set[str] = field(default_factory=set)

    def add(self, name: str, entry: Transformation, path: str) -> Relation:
        """The next transformation's relation."""
        source = entry.input or (self.order[-1] if self.order else "")
        relation = Relation(
            name=name,
            path=path,
            reads=(source,) if source else (),
            columns=None,
            values={**self.parameters, **entry.parameters},
            cache=entry.cache,
            hints=entry.hints,
        )
        if entry.custom is not None and not entry.custom.sql.strip():
            made = self._call(relation, entry.custom)
        else:
            made = self._query(relation, entry, source)
        if made.columns is not None:
            self.known[name] = made.columns
        self.order.append(name)
        return made

    def _call(self, relation: Relation, settings: CustomSettings) -> Relation:
        declared = settings.python.columns if settings.python else settings.columns
        columns = self.schemas.get(relation.name) or declared or None
        if columns is not None:
            self.bound.add(relation.name, columns, f"{relation.path}.custom.columns")
        return replace(relation, columns=columns, call=settings.python, spark=settings.spark)

    def _query(self, relation: Relation, entry: Transformation, source: str) -> Relation:
        """A query that reads a relation of unknown columns is written later."""
        place = f"{relation.path}.{entry.type}"
        if entry.custom is not None:
            place += ".sql"
            found = sql.query(entry.custom.sql, place)
            self.functions |= found.functions
            reads, text = found.reads, found.bound(relation.values, place)
        else:
            reads = (source, *((entry.join.right,) if entry.join else ()))
            writer = Writer(relation.values)
            try:
                if not all(read in self.known for read in reads):
                    relational.check_texts(entry.settings, writer)
                    return replace(relation, reads=reads)
                text = self._relational(entry, source, writer)
            except StageError as error:
                raise error.below(place) from None
            self.functions |= writer.functions
            reads = tuple(dict.fromkeys((*reads, *writer.reads)))
        for read in reads:
            if read not in self.order:
                raise StageError(
                    place, f"reads {read!r}, which is no relation before it", f"known are {', '.join(self.order)}"
                )
        if not all(read in self.known for read in reads):
            return replace(relation, reads=reads)
        return replace(relation, reads=reads, query=text, columns=self.bound.bind(relation.name, text, place))

    def _relational(self, entry: Transformation, source: str, writer: Writer) -> str:
        schema = self.known[source]
        match entry.type:
            case TransformationType.MAP if entry.map:
                return relational.map_query(entry.map, source, schema, writer)
            case TransformationType.FILTER if entry.filter:
                return relational.filter_query(entry.filter, source, schema, writer)
            case TransformationType.JOIN if entry.join:
                return relational.join_query(entry.join, source, schema, self.known[entry.join.right], writer)
            case TransformationType.AGGREGATE if entry.aggregate:
                return relational.aggregate_query(entry.aggregate, source, schema, writer)
            case TransformationType.WINDOW if entry.window:
                return relational.window_query(entry.window, source, schema, writer)
            case TransformationType.SORT if entry.sort:
                return relational.sort_query(entry.sort, source, schema, writer)
        raise AssertionError(f"{entry.type} without its settings")  # the model refuses it


def _functions(transformations: tuple[Transformation, ...]) -> tuple[tuple[UserFunction, str], ...]:
    """The functions that queries may call, each once. Raises StageError if one name means two functions."""
    found: dict[str, tuple[UserFunction, str]] = {}
    for nth, entry in enumerate(transformations):
        for place, function in enumerate(entry.udfs):
            path = f"transformations[{nth}].udfs[{place}]"
            first, where = found.setdefault(function.name, (function, path))
            if first != function:
                raise StageError(f"{path}.name", f"{function.name!r} is another function in {where}", "rename one")
    return tuple(found.values())
