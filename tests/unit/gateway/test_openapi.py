"""The document says what the gateway takes: it accepts what is taken, and refuses what is not."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from services.gateway.catalog import Catalog
from services.gateway.openapi import document
from services.gateway.rest import ROUTES, Rest

CATALOG = Catalog()
GOOD = {"spec": {"metadata": {"name": "a"}, "command": "true"}}


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return document(CATALOG, ROUTES)


def valid(openapi: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    return bool(Draft202012Validator({**schema, "components": openapi["components"]}).is_valid(value))


def body(openapi: dict[str, Any], path: str, kind: str = "application/json") -> dict[str, Any]:
    found: dict[str, Any] = openapi["paths"][path]["post"]["requestBody"]["content"][kind]["schema"]
    return found


def test_every_schema_is_one(openapi: dict[str, Any]) -> None:
    for schema in openapi["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("method", CATALOG.methods.values(), ids=lambda method: method.name)
def test_every_request_is_closed_and_its_texts_have_a_pattern(openapi: dict[str, Any], method: Any) -> None:
    schema = body(openapi, f"/v1/query/{method.service}/{method.name}")
    assert valid(openapi, schema, {})
    assert not valid(openapi, schema, {"no_such_field": 1})
    for field in method.request.DESCRIPTOR.fields:
        if field.cpp_type == field.CPPTYPE_STRING:
            text, bad = ["a", "a\0"] if not field.is_repeated else [["a"], ["a\0"]]
            assert valid(openapi, schema, {field.name: text})
            assert not valid(openapi, schema, {field.name: bad})
        elif field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64) and not field.is_repeated:
            assert valid(openapi, schema, {field.name: 0})
            assert not valid(openapi, schema, {field.name: -1})
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            assert not valid(openapi, schema, {field.name: {"a\0": "a"}})
        elif field.message_type is not None:
            assert not valid(openapi, schema, {field.name: {"no_such_field": 1}})


def test_a_request_takes_its_page_and_options_by_their_short_names(openapi: dict[str, Any]) -> None:
    schema = body(openapi, "/v1/query/forgelog.jobs.v1.JobQueries/ListJobs")
    assert valid(openapi, schema, {"limit": 5, "cursor": "c", "as_of": "2026-05-09T03:12:00Z", "statuses": ["running"]})
    assert not valid(openapi, schema, {"limit": 10_001})
    assert not valid(openapi, schema, {"statuses": ["runing"]})


@pytest.mark.parametrize("rest", ROUTES, ids=lambda rest: rest.path)
def test_every_parameter_is_held_to_what_is_taken(openapi: dict[str, Any], rest: Rest) -> None:
    parameters = {each["name"]: each["schema"] for each in openapi["paths"][rest.path]["get"]["parameters"]}
    assert not valid(openapi, parameters["timeout"], 0)
    for name, schema in parameters.items():
        assert schema.get("type") != "object", "a URL has labels.zone=b, which OpenAPI can't say"
        bad = {"string": "a\0", "integer": 1 << 70, "array": ["a\0"]}.get(schema.get("type", ""))
        assert bad is None or schema.get("format") or not valid(openapi, schema, bad), name


@pytest.mark.parametrize("method", CATALOG.methods.values(), ids=lambda method: method.name)
def test_every_query_takes_a_timeout(openapi: dict[str, Any], method: Any) -> None:
    (timeout,) = openapi["paths"][f"/v1/query/{method.service}/{method.name}"]["post"]["parameters"]
    assert (timeout["name"], timeout["in"]) == ("timeout", "query")


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"tpye": "SubmitJob"}, "a field that is none"),
        ({"id": "two words"}, "an id with a space"),
        ({"project": "no-slash"}, "a project that is none"),
        ({"type": "SubmitJbo"}, "a type that is none"),
        ({"data": {**GOOD, "colour": "red"}}, "a field of the command that is none"),
        ({"data": {"spec": {**GOOD["spec"], "command": "a\0b"}}}, "a text with U+0000"),
    ],
)
def test_a_command_is_held_to_its_schema(openapi: dict[str, Any], wrong: dict[str, Any], what: str) -> None:
    schema = body(openapi, "/v1/commands")
    good = {"type": "SubmitJob", "id": "a-1", "project": "local/default", "data": GOOD}
    assert valid(openapi, schema, good)
    assert not valid(openapi, schema, {**good, **wrong}), what


def test_a_command_may_be_a_cloudevent(openapi: dict[str, Any]) -> None:
    event = {"specversion": "1.0", "id": "a", "source": "t", "type": "forgelog.jobs.v1.SubmitJob", "data": GOOD}
    assert valid(openapi, body(openapi, "/v1/commands", "application/cloudevents+json"), event)
    batch = body(openapi, "/v1/commands", "application/cloudevents-batch+json")
    assert valid(openapi, batch, [event, event])
    assert not valid(openapi, batch, [])
    assert not valid(openapi, batch, [{**event, "colour": "red"}])


def test_every_operation_needs_the_key_and_says_what_the_door_refuses(openapi: dict[str, Any]) -> None:
    assert openapi["security"] == [{"key": []}]
    assert openapi["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            refusals = {"401", "403", "415"} if method == "post" else {"401", "403"}
            assert refusals <= set(operation["responses"]), path
            assert ("security" in operation) == (path in ("/healthz", "/readyz")), path
    assert set(openapi["components"]["responses"]) == {"401", "403", "415"}
