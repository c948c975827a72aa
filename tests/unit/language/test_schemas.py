"""Producers in any language get schemas that accept what the platform accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from events.language.asyncapi import all_types, schema_of
from events.language.contexts import contexts
from events.language.jobs import SubmitJob
from proto.samples import full
from proto.schemas import asyncapi, write

TYPES = all_types()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi()


@cache
def is_a_schema(text: str) -> None:
    """Most types have the definitions of others too, which need no second look."""
    Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("name", TYPES)
def test_a_sample_of_every_type_is_valid_by_its_schema(name: str) -> None:
    schema = schema_of(TYPES[name])
    for part in ({**schema, "$defs": {}}, *schema.get("$defs", {}).values()):
        is_a_schema(json.dumps(part))
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    validator.validate(json.loads(full(TYPES[name]).model_dump_json()))


@pytest.mark.parametrize(
    ("field", "value"), [("cpus", -1), ("cpus", 1e9), ("gpus", 0.5), ("memory_bytes", "much"), ("colour", "red")]
)
def test_bad_values_are_refused_by_the_schema_too(field: str, value: Any) -> None:
    sample = json.loads(full(SubmitJob).model_dump_json())
    sample["spec"]["resources"][field] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(schema_of(SubmitJob)).validate(sample)


def test_fields_that_are_refused_for_now_say_so() -> None:
    spec = schema_of(SubmitJob)["$defs"]["JobSpec"]["properties"]
    assert spec["distributed"]["x-planned"] == "gang scheduling"


def test_every_reference_of_the_asyncapi_document_leads_somewhere(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    for reference in _references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def test_every_type_is_on_a_channel_with_a_valid_example(document: dict[str, Any]) -> None:
    on_channels = {name for channel in document["channels"].values() for name in channel["messages"]}
    assert on_channels == set(TYPES)
    assert set(document["channels"]) == {f"{kind}.{name}" for kind in ("commands", "events") for name in contexts()}
    for message in document["components"]["messages"].values():
        for example in message["examples"]:
            for schema, value in ((message["headers"], example["headers"]), (message["payload"], example["payload"])):
                Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def test_the_files_are_written(tmp_path: Path) -> None:
    assert write(tmp_path) == len(TYPES) + 2
    assert json.loads((tmp_path / "asyncapi.json").read_text())["info"]["title"] == "Forgelog"
