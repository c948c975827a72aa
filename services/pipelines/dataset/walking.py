"""Following lineage from a dataset or a column, step by step. Pure: what is read of tables comes in.

A step by columns is taken where the columns are known. Where they are not (`unresolved`) the step is to the dataset as
a whole, and says why; from there on the walk is by datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from events.language.pipelines.dataset_answers import DataEdge
from events.language.pipelines.lineage import LineageEdges, LineageInput

MOST_EDGES = 5_000
"""Edges that are told."""


class Node(NamedTuple):
    """A dataset, or one of its columns."""

    dataset: str
    column: str = ""
    """Empty: the dataset as a whole."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a dataset was computed from: by one of its versions, or as a job outside has told."""

    dataset: str
    project: str
    inputs: tuple[LineageInput, ...]
    lineage: LineageEdges
    version: int = 0
    pipeline_id: str = ""
    run_id: str = ""
    stage_id: str = ""
    job: str = ""


@dataclass(slots=True)
class Graph:
    """What was found."""

    depths: dict[Node, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    """Dataset → the version that is meant."""
    places: dict[str, str] = field(default_factory=dict)
    """Dataset → where it was read."""
    edges: dict[tuple[Node, Node, str], DataEdge] = field(default_factory=dict)
    """By source, target and job outside."""
    cut: bool = False
    """Whether there is more."""


Identify = Callable[[LineageInput, str], str]
"""An input and its project → the id of the dataset that it is."""


def step(graph: Graph, made: Iterable[Made], near: Sequence[Node], *, up: bool, identify: Identify) -> list[Node]:
    """Add to the graph what leads on from the nodes `near`, which it has; return the nodes that are new."""
    found: dict[Node, None] = {}
    wholes = {node.dataset for node in near if not node.column}
    columns = {(node.dataset, node.column.lower()) for node in near if node.column}
    depth = 1 + min((graph.depths[node] for node in near), default=0)
    for each in made:
        inputs = {read.name: (identify(read, each.project), read) for read in each.inputs}
        for source, target, reason in _led(each, inputs, wholes, columns, up):
            key = source, target, each.job
            if key in graph.edges:
                continue
            if len(graph.edges) == MOST_EDGES:
                graph.cut = True
                return list(found)
            (id, read) = next(pair for pair in inputs.values() if pair[0] == source.dataset)
            far, version = (source, read.version) if up else (target, each.version)
            graph.edges[key] = _edge(each, source, target, read.version, reason, depth)
            graph.places.setdefault(id, read.location)
            if version:
                graph.versions.setdefault(far.dataset, version)
            if far not in graph.depths:
                graph.depths[far] = depth
                found[far] = None
    return list(found)


def _led(
    made: Made,
    inputs: Mapping[str, tuple[str, LineageInput]],
    wholes: Set[str],
    columns: Set[tuple[str, str]],
    up: bool,
) -> Iterator[tuple[Node, Node, str]]:
    """Source, target, and why no columns are known, of each step of one computation that begins near."""
    for edge in made.lineage.columns:
        if edge.dataset not in inputs:
            continue
        source, target = Node(inputs[edge.dataset][0], edge.source), Node(made.dataset, edge.column)
        near = target if up else source
        if (near.dataset, near.column.lower()) in columns:
            yield source, target, ""
    by_column = {dataset for dataset, _ in columns}
    for id, _ in inputs.values():
        near_id = made.dataset if up else id
        if near_id in wholes or (made.lineage.unresolved and near_id in by_column):
            yield Node(id), Node(made.dataset), made.lineage.unresolved if near_id not in wholes else ""


def _edge(made: Made, source: Node, target: Node, version: int, unresolved: str, depth: int) -> DataEdge:
    return DataEdge(
        source=source.dataset,
        source_column=source.column,
        source_version=version,
        target=target.dataset,
        target_column=target.column,
        target_version=made.version,
        pipeline_id=made.pipeline_id,
        run_id=made.run_id,
        stage_id=made.stage_id,
        job=made.job,
        unresolved=unresolved,
        depth=depth,
    )
