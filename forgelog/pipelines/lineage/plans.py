"""Where the columns of what a stage gave come from: through its queries, and through its functions as far as they are
queries too."""

from __future__ import annotations

from events.language.pipelines.lineage import LineageEdges
from forgelog.pipelines.engine.plan import Plan, Schema
from forgelog.pipelines.engine.running import Ran
from forgelog.pipelines.lineage.columns import column_lineage


def lineage_of(ran: Ran) -> LineageEdges:
    """The edges from the result of a plan that was run to the stage's inputs, by their names.

    A function that gave a lazy frame of narwhals or a relation of DuckDB gave a query: its columns are known. What one
    computed in Python is not: all that is computed from it is `unresolved`.
    """
    plan = ran.plan
    known: dict[str, Schema] = dict(plan.inputs)
    inner: dict[str, LineageEdges] = {}
    for relation in plan.relations:
        if relation.query or relation.columns is None:
            continue
        if text := ran.given.get(relation.name):
            edges = _edges(_over_roots(plan, ran, text, relation.name), known, relation.columns, inner)
        else:
            tables: dict[str, None] = {}
            for name in ran.took.get(relation.name, relation.reads):
                tables.update(dict.fromkeys(_edges(plan.select(name, known), known, (), inner).tables))
            what = f"the function {relation.call.function}" if relation.call else "Spark's SQL"
            edges = LineageEdges(tables=tuple(tables), unresolved=f"{relation.name} is what {what} gave")
        known[relation.name] = relation.columns
        inner[relation.name] = edges
    return _edges(plan.sql, known, plan.columns or (), inner)


def _edges(sql: str, known: dict[str, Schema], columns: Schema, inner: dict[str, LineageEdges]) -> LineageEdges:
    return column_lineage(sql, known, columns).through(inner)


def _over_roots(plan: Plan, ran: Ran, text: str, name: str) -> str:
    """A function's query over the relations that it took, as one over inputs and other functions' results."""
    from forgelog.pipelines.engine.sql import quoted

    parts = [
        f"{quoted(taken)} AS (\n{plan.select(taken, plan.roots)}\n)"
        for taken in ran.took[name]
        if taken not in plan.roots
    ]
    return f"WITH {', '.join(parts)}\nSELECT * FROM ({text})" if parts else text
