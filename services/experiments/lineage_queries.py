"""Lineage: what a thing was made of, and what was made of it, as far as is asked for. Knows no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from events.language.convert import to_message
from events.language.experiments.datasets import NodeKind, dataset_node
from events.projections.tables import Db
from events.queries.queries import invalid, not_found
from forgelog_pb.experiments.v1 import registry_queries_pb2 as pb
from forgelog_pb.experiments.v1 import types_pb2 as types

MOST_EDGES = 5_000
"""Edges that are told."""
DEPTH = 10
MOST_DEPTH = 100

_WALK = """
    with recursive walk(kind, id, depth) as (
        select $1::text, $2::text, 0
        union
        select e.{far}_kind, e.{far}, w.depth + 1
        from walk w join edges e on e.project = $3 and e.{near}_kind = w.kind and e.{near} = w.id
        where w.depth < $4
    ),
    nearest as (select kind, id, min(depth) as depth from walk group by kind, id)
    select e.*, n.depth + 1 as depth
    from nearest n join edges e on e.project = $3 and e.{near}_kind = n.kind and e.{near} = n.id
    where n.depth < $4
    order by n.depth, e.source_kind, e.source, e.target_kind, e.target limit $5
"""
"""All edges from a node on, one way. A node is looked at once a depth, so a circle ends at the bound of depths."""

_UP = _WALK.format(near="target", far="source")
_DOWN = _WALK.format(near="source", far="target")

_PLACES: Mapping[NodeKind, str] = {
    NodeKind.EXPERIMENT: "select project from experiments where experiment_id = $1",
    NodeKind.RUN: "select project from runs where run_id = $1",
    NodeKind.MODEL_VERSION: "select project from model_versions where version_id = $1",
    NodeKind.LOGGED_MODEL: "select project from logged_models where model_id = $1",
    NodeKind.DATASET: "select project from datasets where version_id = $1",
}

_LABELS: Mapping[NodeKind, str] = {
    NodeKind.EXPERIMENT: "select experiment_id as id, name as label from experiments where experiment_id = any($1)",
    NodeKind.RUN: "select run_id as id, name as label from runs where run_id = any($1)",
    NodeKind.MODEL_VERSION: "select version_id as id, m.name || '/' || v.number as label from model_versions v "
    "join models m using (model_id) where version_id = any($1)",
    NodeKind.LOGGED_MODEL: "select model_id as id, name as label from logged_models where model_id = any($1)",
    NodeKind.DATASET: "select name || '@' || digest as id, name || '/' || number as label from datasets "
    "where name || '@' || digest = any($1)",
}

Node = tuple[str, str]


async def lineage(db: Db, request: Any) -> Any:
    """The answer to `GetLineage`. Raises QueryError."""
    start, project = await _start(db, request)
    depth = request.depth or DEPTH
    if not 0 < depth <= MOST_DEPTH:
        raise invalid(f"depth: is {depth}; give 1 to {MOST_DEPTH}")
    ways = {pb.LINEAGE_DIRECTION_UP: (_UP,), pb.LINEAGE_DIRECTION_DOWN: (_DOWN,)}.get(request.direction, (_UP, _DOWN))
    edges: dict[tuple[str, ...], Any] = {}
    nodes: dict[Node, int] = {start: 0}
    cut = False
    for sql in ways:
        rows = await db.fetch(sql, *start, project, depth, MOST_EDGES + 1)
        cut = cut or len(rows) > MOST_EDGES
        for row in rows[:MOST_EDGES]:
            pair = row["source_kind"], row["source"], row["target_kind"], row["target"]
            if pair not in edges or row["relation"] < edges[pair]["relation"]:  # both things may tell of it
                edges[pair] = row
            far = "source" if sql is _UP else "target"
            node = row[f"{far}_kind"], row[far]
            nodes[node] = min(nodes.get(node, row["depth"]), row["depth"])
    labels = await _labels(db, nodes, project)
    return pb.GetLineageResponse(
        nodes=[
            types.LineageNode(**_kind(kind), id=id, label=labels.get((kind, id), ""), depth=at)
            for (kind, id), at in sorted(nodes.items(), key=lambda item: (item[1], item[0]))
        ],
        edges=[to_message(dict(row), types.LineageEdge) for row in edges.values()],
        cut=cut,
    )


def _kind(kind: str) -> dict[str, Any]:
    return {"kind": f"NODE_KIND_{kind.upper()}"}


async def _start(db: Db, request: Any) -> tuple[Node, str]:
    """The node that is asked for, and its project."""
    try:
        kind = NodeKind(request.kind)
    except ValueError:
        words = ", ".join(each.value for each in NodeKind)
        raise invalid(f"kind: {request.kind!r} is none of {words}") from None
    id = request.id
    if kind is NodeKind.DATASET and "@" not in id:
        row = await db.fetchrow("select project, name, digest from datasets where version_id = $1", id)
        if row is None:
            raise not_found("dataset", id)
        return (kind.value, dataset_node(row["name"], row["digest"])), row["project"]
    project = await db.fetchval(_PLACES[kind], id) if kind in _PLACES else None
    project = project or await db.fetchval(
        "select project from edges where (source_kind, source) = ($1, $2) or (target_kind, target) = ($1, $2) limit 1",
        kind.value,
        id,
    )
    if project is None:
        raise not_found(kind.value.replace("_", " "), id)
    return (kind.value, id), project


async def _labels(db: Db, nodes: Mapping[Node, int], project: str) -> dict[Node, str]:
    found: dict[Node, str] = {}
    for kind, sql in _LABELS.items():
        ids = [id for node, id in nodes if node == kind.value]
        if ids:
            where = f"{sql} and project = $2" if kind is NodeKind.DATASET else sql
            rows = await db.fetch(where, ids, *([project] if kind is NodeKind.DATASET else []))
            found |= {(kind.value, row["id"]): row["label"] for row in rows if row["label"]}
    return found
