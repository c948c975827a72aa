"""The answer to `GetDataLineage`, from the projection's tables. `walking` follows the steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from events.language.convert import to_message
from events.language.pipelines.lineage import LineageEdges, LineageInput
from events.projections.tables import Db
from events.queries.queries import invalid, not_found
from forgelog_pb.pipelines.v1 import dataset_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import types_pb2 as types
from services.pipelines.dataset.rows import OF_VERSIONS, source_id
from services.pipelines.dataset.walking import Graph, Made, Node, step

DEPTH = 10
MOST_DEPTH = 100

_NEWEST = "select * from lineage_sources where project = $1 and dataset_id = any($2)"
_READ = "select * from lineage_sources where sources ? $1"
_FROM = "select * from lineage_sources where project = $1 and sources ?| $2"
_VERSIONS = """
    select v.* from data_versions v join unnest($1::text[], $2::int[]) as wanted(dataset_id, version)
    on v.dataset_id = wanted.dataset_id and v.version = wanted.version
"""


async def lineage(db: Db, request: Any, as_of: Any) -> Any:
    """The answer. Raises QueryError."""
    id, depth = request.dataset_id, request.depth or DEPTH
    if not 0 < depth <= MOST_DEPTH:
        raise invalid(f"depth: is {depth}; give 1 to {MOST_DEPTH}")
    project, newest, columns = await _known(db, id, as_of)
    version = await _version(db, id, request.version, newest)
    graph = Graph(versions={id: version} if version else {})
    starts = _starts(request, columns)
    for up in _ways(request.direction):
        near = starts
        graph.depths |= dict.fromkeys(starts, 0)
        for _ in range(depth):
            made = await (_above(db, graph, near, project) if up else _below(db, near, project))
            near = step(graph, made, near, up=up, identify=source_id)
            if not near or graph.cut:
                break
    return await _answer(db, graph)


async def _known(db: Db, id: str, as_of: Any) -> tuple[str, int, list[str]]:
    """Project, newest version and names of columns. Of what is only read, such as a source that has a name, the columns
    that something is computed from. Raises QueryError."""
    if row := await db.fetchrow("select * from datasets where dataset_id = $1", id):
        return row["project"], row["version"], [column["name"] for column in row["columns"]]
    if not (reading := [_source(row) for row in await db.fetch(_READ, id)]):
        raise not_found("dataset", id, as_of)
    names: dict[str, None] = {}
    for each in reading:
        own = {read.name for read in each.inputs if source_id(read, each.project) == id}
        names |= dict.fromkeys(edge.source for edge in each.lineage.columns if edge.dataset in own)
    return reading[0].project, 0, sorted(names)


def _ways(direction: int) -> Sequence[bool]:
    """Whether to go up, for each way."""
    if direction == pb.DATA_DIRECTION_UP:
        return (True,)
    return (False,) if direction == pb.DATA_DIRECTION_DOWN else (True, False)


async def _version(db: Db, id: str, asked: int, newest: int) -> int:
    if not asked:
        return newest
    found = "select 1 from data_versions where dataset_id = $1 and version = $2"
    if await db.fetchval(found, id, asked) is None:
        raise not_found(f"version {asked} of dataset", id)
    return asked


def _starts(request: Any, names: Sequence[str]) -> list[Node]:
    """Where the walk begins. Raises QueryError for a column that the dataset has not."""
    id = request.dataset_id
    if not request.column:
        return [Node(id, name) for name in names] if request.columns and names else [Node(id)]
    found = next((name for name in names if name.lower() == request.column.lower()), None)
    if found is None:
        listed = ", ".join(names[:20]) or "none is known"
        raise invalid(f"column: dataset {id} has no column {request.column!r}; it has: {listed}")
    return [Node(id, found)]


async def _above(db: Db, graph: Graph, near: Sequence[Node], project: str) -> Iterable[Made]:
    """What the nodes' datasets were computed from: exactly, where a version of them is meant."""
    ids = sorted({node.dataset for node in near})
    newest = [_source(row) for row in await db.fetch(_NEWEST, project, ids)]
    known = {each.dataset: each.version for each in newest if each.job == OF_VERSIONS}
    older = {id: graph.versions[id] for id in ids if graph.versions.get(id, 0) not in (0, known.get(id))}
    if not older:
        return newest
    rows = await db.fetch(_VERSIONS, list(older), list(older.values()))
    return [*(each for each in newest if each.dataset not in older), *map(_of_version, rows)]


async def _below(db: Db, near: Sequence[Node], project: str) -> Iterable[Made]:
    """What is computed from the nodes' datasets now."""
    rows = await db.fetch(_FROM, project, sorted({node.dataset for node in near}))
    return [_source(row) for row in rows]


def _source(row: Any) -> Made:
    return _made(row, job=row["origin"])


def _of_version(row: Any) -> Made:
    return _made(row, job=OF_VERSIONS)


def _made(row: Any, job: str) -> Made:
    return Made(
        dataset=row["dataset_id"],
        project=row["project"],
        inputs=tuple(LineageInput.model_validate(each) for each in row["inputs"]),
        lineage=LineageEdges.model_validate(row["lineage"]),
        version=row["version"],
        pipeline_id=row["pipeline_id"],
        run_id=row["run_id"],
        stage_id=row["stage_id"],
        job=job,
    )


async def _answer(db: Db, graph: Graph) -> Any:
    ids = sorted({node.dataset for node in graph.depths})
    named = await db.fetch("select dataset_id, name, location, version from datasets where dataset_id = any($1)", ids)
    labels = {row["dataset_id"]: row["name"] for row in named}
    versions = {**{row["dataset_id"]: row["version"] for row in named}, **graph.versions}
    nodes = sorted(graph.depths.items(), key=lambda item: (item[1], item[0]))
    return pb.GetDataLineageResponse(
        nodes=[
            types.DataNode(
                dataset_id=node.dataset,
                column=node.column,
                version=versions.get(node.dataset, 0),
                label=labels.get(node.dataset) or graph.places.get(node.dataset, "") or node.dataset,
                depth=depth,
            )
            for node, depth in nodes
        ],
        edges=[to_message(edge, types.DataEdge) for edge in graph.edges.values()],
        cut=graph.cut,
    )
