"""What a text must look like is said in words, and the words say what the pattern says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from events.language.registry import command_types, event_types
from events.language.wording import PATTERNS, words_for


def patterns(schema: Any) -> Iterator[str]:
    """All in a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(found := schema.get("pattern"), str):
            yield found
        for each in schema.values():
            yield from patterns(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from patterns(each)


def test_each_pattern_with_words_is_that_of_a_field() -> None:
    messages = {**command_types(), **event_types()}.values()
    used = {words_for(found) for message in messages for found in patterns(message.model_json_schema())}
    assert PATTERNS.keys() <= used


@pytest.mark.parametrize(("pattern", "words"), PATTERNS.items())
def test_the_words_have_the_bounds_of_the_pattern(pattern: str, words: str) -> None:
    if (found := re.search(r"1 to ([0-9]+) |([0-9]+) (?:characters )?at most|at most ([0-9]+) ", words)) is None:
        return
    most = int(next(filter(None, found.groups())))
    assert re.search(pattern, "a" * most)
    assert re.search(pattern, "a" * (most + 1)) is None


@pytest.mark.parametrize(
    "kind",
    ["DefinePipeline", "CreateDeployment", "SubmitJob", "CreateExperiment"],
)
def test_names_in_manifests_have_words(kind: str) -> None:
    """`name`, `id`, `stage` and `ports`: what people make up themselves."""
    schema = next(each for name, each in command_types().items() if name.endswith(f".{kind}")).model_json_schema()
    models = [schema, *schema.get("$defs", {}).values()]
    fields = [
        (model.get("title"), name, found)
        for model in models
        for name, field in model.get("properties", {}).items()
        if name in ("name", "id", "stage", "port", "ports", "labels", "after", "input", "environment", "alias")
        for found in patterns(field)
        if found != r"^[^\x00]*$"
    ]
    assert [field for field in fields if words_for(field[2]) not in PATTERNS] == []
