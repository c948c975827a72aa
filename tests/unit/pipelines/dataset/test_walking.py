"""Lineage followed step by step, by datasets and by columns, both ways."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from events.language.pipelines.commits import place_label
from events.language.pipelines.lineage import ColumnEdge, LineageEdges, LineageInput
from services.pipelines.dataset import walking
from services.pipelines.dataset.rows import source_id
from services.pipelines.dataset.walking import Graph, Made, Node, step

PROJECT = "local/default"


def made(dataset: str, *edges: str, inputs: Sequence[str] = (), unresolved: str = "", version: int = 1) -> Made:
    """A dataset of which ``total<orders.price`` says where a column comes from."""
    columns = []
    for text in edges:
        column, _, origin = text.partition("<")
        source, _, name = origin.partition(".")
        columns.append(ColumnEdge(column=column, dataset=source, source=name))
    names = tuple(dict.fromkeys([*inputs, *(edge.dataset for edge in columns)]))
    return Made(
        dataset,
        PROJECT,
        tuple(LineageInput(name=name, dataset_id=name, version=1) for name in names),
        LineageEdges(columns=tuple(columns), tables=names, unresolved=unresolved),
        version=version,
        run_id=f"daily.{version}",
    )


CHAIN = (
    made("clean", "id<raw.id", "price<raw.amount", "price<raw.currency"),
    made("revenue", "total<clean.price", "day<calendar.day"),
    made("report", inputs=("revenue",), unresolved="it has a PIVOT"),
)


def walked(start: Node, *, up: bool, steps: int = 10, chain: Sequence[Made] = CHAIN) -> Graph:
    graph = Graph(depths={start: 0})
    near = [start]
    for _ in range(steps):
        near = step(graph, chain, near, up=up, identify=source_id)
    return graph


def told(graph: Graph) -> set[str]:
    return {".".join(filter(None, node)) for node in graph.depths}


def test_a_column_is_followed_up_to_just_those_that_it_is_computed_from() -> None:
    graph = walked(Node("revenue", "total"), up=True)
    assert told(graph) == {"revenue.total", "clean.price", "raw.amount", "raw.currency"}
    assert graph.depths[Node("raw", "amount")] == 2
    assert not any(edge.unresolved for edge in graph.edges.values())
    assert graph.versions == {"clean": 1, "raw": 1}


def test_upper_and_lower_case_of_a_column_do_not_differ() -> None:
    assert Node("clean", "price") in walked(Node("revenue", "TOTAL"), up=True).depths


def test_a_dataset_as_a_whole_is_followed_by_datasets() -> None:
    assert told(walked(Node("report"), up=True)) == {"report", "revenue", "clean", "calendar", "raw"}


def test_no_further_than_is_asked_for() -> None:
    assert told(walked(Node("report"), up=True, steps=2)) == {"report", "revenue", "clean", "calendar"}


def test_what_a_column_reaches_goes_on_by_datasets_where_columns_are_not_known() -> None:
    graph = walked(Node("raw", "amount"), up=False)
    assert told(graph) == {"raw.amount", "clean.price", "revenue.total", "report"}
    assert [edge.unresolved for edge in graph.edges.values() if edge.target == "report"] == ["it has a PIVOT"]


def test_a_column_that_nothing_uses_reaches_nothing() -> None:
    assert told(walked(Node("clean", "id"), up=False)) == {"clean.id"}


def test_a_circle_ends() -> None:
    chain = (made("a", "x<b.x"), made("b", "x<a.x"))
    assert told(walked(Node("a", "x"), up=True, chain=chain)) == {"a.x", "b.x"}


def test_a_place_outside_is_known_by_its_location() -> None:
    read = LineageInput(name="raw", location="s3://b/orders/*.csv")
    chain = (Made("clean", PROJECT, (read,), LineageEdges(tables=("raw",)), job="airflow/load"),)
    graph = walked(Node("clean"), up=True, chain=chain)
    place = place_label("s3://b/orders")
    assert told(graph) == {"clean", place}
    assert graph.places[place] == "s3://b/orders/*.csv"


def test_more_edges_than_are_told_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "MOST_EDGES", 2)
    graph = walked(Node("report"), up=True)
    assert (len(graph.edges), graph.cut) == (2, True)
