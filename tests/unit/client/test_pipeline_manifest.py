"""Pipelines as documents: what a user writes, what it means, and what is said about a mistake."""

from __future__ import annotations

import pytest

from events.language.pipelines.stages import StageInput
from forgelog.errors import ManifestError
from forgelog.manifest.kinds import parse
from forgelog.manifest.pipelines import PIPELINE, ManifestPipeline

TEXT = """
kind: Pipeline
name: daily-sales
stages:
  - id: load
  - id: report
    inputs: {sales: load}
"""


def read(text: str) -> ManifestPipeline:
    (found,) = parse(text, "sales.yaml", PIPELINE)
    return found


def errors_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(text, "sales.yaml", PIPELINE)
    return [str(problem) for problem in caught.value.errors]


def test_an_input_is_written_as_the_id_of_a_stage() -> None:
    found = read(TEXT)
    assert (found.name, [stage.id for stage in found.spec.stages]) == ("daily-sales", ["load", "report"])
    assert found.spec.stages[1].inputs == {"sales": StageInput(stage="load")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stages: [{id: a}]", "has no name"),
        ("name: Daily!\nstages: [{id: a}]", "'Daily!' is no name of a pipeline"),
        ("name: daily", "'stages' is missing"),
        ("name: daily\nstages: []", "stages: is empty; give at least 1 entry"),
        ("name: daily\nstage: [{id: a}]", "did you mean 'stages'?"),
        ("- 1", "a pipeline is a map of keys"),
    ],
)
def test_each_mistake_is_named(text: str, told: str) -> None:
    assert told in " ".join(errors_of(text))


def test_a_list_is_not_too_short_for_an_entry_that_is_wrong() -> None:
    text = "name: daily\nstages:\n  - id: a\n    transformations: [{type: custom, custom: {}}]"
    (told,) = errors_of(f"kind: Pipeline\n{text}")
    assert "give one of them" in told


def test_errors_of_the_graph_are_told_with_their_lines() -> None:
    text = TEXT.replace("sales: load", "sales: lod").replace("- id: load", "- {id: load, after: [load]}")
    first, second = errors_of(text)
    assert first.startswith("line 5")
    assert "stage load waits for itself" in first
    assert second.startswith("line 7")
    assert "did you mean 'load'?" in second
