"""Everything that is wrong with a pipeline's graph is said at once, cycles by their shortest path."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.pipelines.graph import cycles, graph_errors
from events.language.pipelines.stages import StageInput, StageSpec
from tests.unit.pipelines.desk import stages


def told(*written: str) -> list[str]:
    return [f"{error.field} {error.problem}" for error in graph_errors(stages(*written))]


def test_a_graph_without_cycles_has_no_errors() -> None:
    assert told("load", "clean: load", "check: load", "report: clean check") == []


def test_every_error_is_told_at_once() -> None:
    errors = graph_errors(
        (
            StageSpec(id="load", after=("clean",)),
            StageSpec(id="clean", inputs={"raw": StageInput(stage="laod")}, after=("load",)),
            StageSpec(id="clean"),
        )
    )
    assert [(error.field, error.problem, error.hint) for error in errors] == [
        ("spec.stages[2].id", "is 'clean', and stage 1 has this id too", "give it another id"),
        (
            "spec.stages[1].inputs.raw.stage",
            "is 'laod', and the pipeline has no such stage",
            "did you mean 'load'?",
        ),
        (
            "spec.stages[0]",
            "stages wait for each other: load → clean → load",
            "let one of them not wait for the next",
        ),
    ]


def test_a_stage_may_not_wait_for_itself() -> None:
    assert told("a: a") == ["spec.stages[0] stage a waits for itself"]


def test_of_a_cycle_the_shortest_path_is_told() -> None:
    ring = [f"s{number}: s{(number + 1) % 900}" for number in range(900)]
    ring[500] = "s500: s501 s498"
    assert told(*ring) == ["spec.stages[498] stages wait for each other: s498 → s499 → s500 → s498"]


def test_of_a_long_cycle_only_a_part_is_written_out() -> None:
    ring = [f"s{number}: s{(number + 1) % 20}" for number in range(20)]
    assert told(*ring) == [
        "spec.stages[0] stages wait for each other: "
        "s0 → s1 → s2 → s3 → s4 → s5 → s6 → s7 → s8 → s9 → s10 → … 9 more … → s0"
    ]


def test_a_thousand_stages_with_five_errors() -> None:
    written = [f"s{number}: {f's{number - 1}' if number % 333 else ''}" for number in range(1_000)]
    written[100] = "s100: s99 s300"
    written[700] = "s700: s699 s800"
    for number in (10, 20, 30):
        written[number] += f" x{number}"
    graph = stages(*written)
    began = time.perf_counter()
    errors = graph_errors(graph)
    assert time.perf_counter() - began < 2.0, "it takes 5 ms on a free machine"
    assert len(errors) == 5
    assert [error.field for error in errors[:3]] == [f"spec.stages[{number}].after[1]" for number in (10, 20, 30)]
    assert [error.problem for error in errors[3:]] == [
        "stages wait for each other: s100 → s300 → s299 → s298 → s297 → s296 → s295 → s294 → s293 → s292 → s291"
        " → … 190 more … → s100",
        "stages wait for each other: s700 → s800 → s799 → s798 → s797 → s796 → s795 → s794 → s793 → s792 → s791"
        " → … 90 more … → s700",
    ]


_ids = st.sampled_from("abcdef")


@given(st.dictionaries(_ids, st.sets(_ids)))
def test_a_cycle_that_is_told_is_one_and_none_is_shorter(needs: dict[str, set[str]]) -> None:
    graph = {id: sorted(needed & set(needs)) for id, needed in needs.items()}
    found = cycles(graph)
    for cycle in found:
        assert all(after in graph[id] for id, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        shortest = min(length for id in cycle if (length := _around(graph, id)) is not None)
        assert len(cycle) == shortest
    assert bool(found) == any(_around(graph, id) for id in graph)


def _around(graph: dict[str, list[str]], start: str) -> int | None:
    """How many stages the shortest cycle through a stage has."""
    reached, steps = {start}, 0
    while reached and steps <= len(graph):
        steps += 1
        reached = {needed for id in reached for needed in graph[id]}
        if start in reached:
            return steps
    return None


@pytest.mark.parametrize("depth", [10_000])
def test_a_deep_graph_needs_no_deep_stack(depth: int) -> None:
    assert cycles({str(number): [str(number + 1)] if number < depth else [] for number in range(depth + 1)}) == []
