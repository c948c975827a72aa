"""From a query to the columns that each of its columns is computed from.

An output column comes from the columns in its expression, through common table expressions and subqueries, down to
those of the inputs. What decides which rows there are (conditions, keys of joins and groups) is not part of it.

The answer is right, or it is `unresolved` with the reason: a query that sqlglot reads in another way than DuckDB must
not give wrong edges. So the names that it finds are compared with those that DuckDB gives, and what it is known to read
otherwise is refused: ``COLUMNS()``, PIVOT, ``struct.*``, UNION BY NAME.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from events.language.pipelines.columns import Column
from events.language.pipelines.lineage import MAX_EDGES, ColumnEdge, LineageEdges
from forgelog.pipelines.engine.sql import query
from forgelog.pipelines.lineage.graph import Graph, Unresolved, refuse_ambiguous
from forgelog.pipelines.problems import StageError, needs_extra

Schema = tuple[Column, ...]


def column_lineage(
    sql: str, schemas: Mapping[str, Schema], result_columns: Iterable[Column | str], *, dialect: str = "duckdb"
) -> LineageEdges:
    """The edges of a query over relations of these columns.

    `result_columns`: what DuckDB gives the query's columns as names, in order (`describe`). `dialect`: whose SQL it is,
    as sqlglot calls it.
    """
    names = [column if isinstance(column, str) else column.name for column in result_columns]
    tables = _read(sql, schemas, dialect)
    try:
        edges = tuple(dict.fromkeys(_edges(sql, schemas, names, dialect)))
    except Unresolved as reason:
        return LineageEdges(tables=tables, unresolved=str(reason)[:1_000])
    if len(edges) > MAX_EDGES:
        many = f"there are {len(edges)} edges between columns, more than {MAX_EDGES}"
        return LineageEdges(tables=tables, unresolved=many)
    return LineageEdges(columns=edges, tables=tables)


def _read(sql: str, schemas: Mapping[str, Schema], dialect: str) -> tuple[str, ...]:
    """The inputs that a query reads, by DuckDB's parser; all of them if it can't say."""
    if dialect != "duckdb":
        return tuple(schemas)
    try:
        read = query(sql, "").reads
    except StageError:
        return tuple(schemas)
    return tuple(name for name in schemas if name in read)


def _edges(sql: str, schemas: Mapping[str, Schema], names: list[str], dialect: str) -> list[ColumnEdge]:
    try:
        import sqlglot
        from sqlglot.errors import SqlglotError
        from sqlglot.optimizer.qualify import qualify
        from sqlglot.optimizer.scope import build_scope
    except ImportError:
        raise needs_extra("sqlglot") from None
    known: dict[str, Any] = {
        name: {column.name.lower(): column.type for column in columns} for name, columns in schemas.items()
    }
    try:
        parsed = sqlglot.parse_one(sql, dialect=dialect)
        refuse_ambiguous(parsed, known)
        scope = build_scope(qualify(parsed, schema=known, dialect=dialect))
        if scope is None:
            raise Unresolved("sqlglot finds no SELECT in the query")
        graph = Graph(scope, known)
        outputs = graph.outputs(scope)
        if len(outputs) != len(names):
            raise Unresolved(f"sqlglot finds {len(outputs)} columns, and DuckDB {len(names)}")
        for output, name in zip(outputs, names, strict=True):
            if output and output.lower() != name.lower():
                raise Unresolved(f"sqlglot finds the column {output!r} where DuckDB has {name!r}")
        origins = [graph.origins(scope, place) for place in range(len(names))]
    except SqlglotError as error:
        raise Unresolved(f"sqlglot can't read the query: {' '.join(str(error).split())[:300]}") from None
    except RecursionError:
        raise Unresolved("the query is nested too deeply for sqlglot") from None
    spelled = {name: {column.name.lower(): column.name for column in columns} for name, columns in schemas.items()}
    return [
        ColumnEdge(column=name, dataset=dataset, source=spelled[dataset][source])
        for name, found in zip(names, origins, strict=True)
        for dataset, source in sorted(found)
    ]
