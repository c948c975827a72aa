"""A pipeline's graph in text and as SVG."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from forgelog.cli.pipeline_graph import in_order, svg, text

SHOP = {
    "load": [],
    "orders": [],
    "clean": ["load"],
    "check": ["load"],
    "join": ["clean", "orders"],
    "report": ["join", "check"],
}


def same(needs: dict[str, list[str]]) -> dict[str, str]:
    return {stage: stage for stage in needs}


def test_lanes_part_and_meet() -> None:
    assert text(SHOP, same(SHOP)) == [
        "●  load",
        "├─╮",
        "│ │ ●  orders",
        "● │ │  clean",
        "│ ● │  check",
        "├─┼─╯",
        "● │  join",
        "├─╯",
        "●  report",
    ]


def test_many_lanes_meet_at_once() -> None:
    needs: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["a"], "d": ["a"], "e": ["b", "c", "d"]}
    assert text(needs, same(needs)) == ["●  a", "├─┬─╮", "● │ │  b", "│ ● │  c", "│ │ ●  d", "├─┴─╯", "●  e"]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    count = draw(st.integers(1, 12))
    names = [f"s{number}" for number in range(count)]
    return {
        name: draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=4)) if number else []
        for number, name in enumerate(names)
    }


@given(graphs())
def test_each_stage_has_a_line_behind_all_that_it_waits_for(needs: dict[str, list[str]]) -> None:
    drawn = [line.rsplit("  ", 1)[-1] for line in text(needs, same(needs)) if "●" in line]
    assert sorted(drawn) == sorted(needs)
    assert drawn == in_order(needs)
    assert all(drawn.index(before) < drawn.index(stage) for stage in needs for before in needs[stage])


def test_a_drawing_has_a_box_for_each_stage_and_a_line_for_each_need() -> None:
    labels = {**same(SHOP), "load": "<load> & go"}
    root = ElementTree.fromstring(svg(SHOP, labels, {"clean": "failed"}))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}g")) == len(SHOP)
    assert len(root.findall(f"{space}path")) == sum(map(len, SHOP.values()))
    titles = {title.text for title in root.iter(f"{space}title")}
    assert {"<load> & go", "clean (failed)"} <= titles
