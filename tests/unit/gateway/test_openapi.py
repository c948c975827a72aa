"""The document says what the gateway takes: it accepts what is taken, and refuses what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from events.language.json_schemas import command_definitions
from services.gateway.catalog import Catalog
from services.gateway.openapi import document
from services.gateway.routes import QueryRoute, query_routes
from services.gateway.schemas import command_schemas

CATALOG = Catalog()
ROUTES = query_routes(CATALOG)
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
    needed = {} if method.context else {"context": "jobs"}
    assert valid(openapi, schema, needed)
    assert not valid(openapi, schema, {**needed, "no_such_field": 1})
    for field in method.request.DESCRIPTOR.fields:
        if field.cpp_type == field.CPPTYPE_STRING:
            good, bad = ("jobs" if field.name in needed else "a", "a\0")
            if field.is_repeated:
                good, bad = (["events.jobs/0@1"] if field.name == "after" else [good], [bad])
            assert valid(openapi, schema, {**needed, field.name: good})
            assert not valid(openapi, schema, {**needed, field.name: bad})
        elif field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64) and not field.is_repeated:
            assert valid(openapi, schema, {**needed, field.name: 0})
            assert valid(openapi, schema, {**needed, field.name: -1}) == (field.type == field.TYPE_SINT64)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            assert not valid(openapi, schema, {**needed, field.name: {"a\0": "a"}})
        elif field.message_type is not None:
            assert not valid(openapi, schema, {**needed, field.name: {"no_such_field": 1}})


def test_a_query_may_be_asked_by_its_url_too(openapi: dict[str, Any]) -> None:
    asked = openapi["paths"]["/v1/query/forgelog.jobs.v1.JobQueries/ListJobs"]["get"]
    names = {each["name"] for each in asked["parameters"]}
    assert {"statuses", "as_of", "at_least", "limit", "cursor", "timeout"} <= names
    assert asked["responses"]["200"] == openapi["paths"]["/v1/jobs"]["get"]["responses"]["200"]


def test_a_query_of_the_log_names_a_context(openapi: dict[str, Any]) -> None:
    schema = body(openapi, "/v1/query/forgelog.log.v1.LogQueries/GetStatus")
    assert valid(openapi, schema, {"context": "jobs"})
    assert not valid(openapi, schema, {})
    assert not valid(openapi, schema, {"context": "kitchen"})
    for path in ("/v1/log/{context}/status", "/metrics/{context}"):
        (context,) = (each for each in openapi["paths"][path]["get"]["parameters"] if each["name"] == "context")
        assert (context["in"], context["required"]) == ("path", True)
        assert valid(openapi, context["schema"], "jobs")
        assert not valid(openapi, context["schema"], "kitchen")


def test_positions_have_a_form(openapi: dict[str, Any]) -> None:
    watch = body(openapi, "/v1/query/forgelog.log.v1.LogQueries/WatchEvents")
    jobs = body(openapi, "/v1/query/forgelog.jobs.v1.JobQueries/ListJobs")
    for schema, name in ((watch, "after"), (jobs, "at_least")):
        given = {"context": "jobs"} if name == "after" else {}
        assert valid(openapi, schema, {**given, name: ["events.jobs/3@1042"]})
        assert not valid(openapi, schema, {**given, name: ["events.jobs"]})


@pytest.mark.parametrize("given", [{"page": None}, {"page": {"cursor": None}}, {"as_of": None}, {"statuses": None}])
def test_null_is_as_good_as_left_out(openapi: dict[str, Any], given: dict[str, Any]) -> None:
    """So says protobuf's JSON form, and so it is taken."""
    assert valid(openapi, body(openapi, "/v1/query/forgelog.jobs.v1.JobQueries/ListJobs"), given)


def test_an_events_body_is_shown_as_json(openapi: dict[str, Any]) -> None:
    history = openapi["paths"]["/v1/log/{context}/{subject}/history"]["get"]["responses"]["200"]
    answer = {"events": [{"data": {"job_id": "a"}, "position": "events.jobs/0@1"}], "next_cursor": ""}
    assert valid(openapi, history["content"]["application/json"]["schema"], answer)


def test_an_aggregates_history_is_not_asked_for_by_a_flow_too(openapi: dict[str, Any]) -> None:
    asked = openapi["paths"]["/v1/log/{context}/{subject}/history"]["get"]["parameters"]
    assert "correlation_id" not in {each["name"] for each in asked}


def test_nothing_is_given_twice(openapi: dict[str, Any]) -> None:
    schema = body(openapi, "/v1/query/forgelog.jobs.v1.JobQueries/ListJobs")
    assert valid(openapi, schema, {"options": {"as_of": "2026-05-09T03:12:00Z"}, "page": {"limit": 5}, "cursor": "c"})
    assert not valid(openapi, schema, {"page": {"limit": 5}, "limit": 5})


@pytest.mark.parametrize(("query", "path"), [("WatchJobs", "/v1/jobs/{job_ids}/watch")])
def test_what_has_no_past_takes_no_as_of(openapi: dict[str, Any], query: str, path: str) -> None:
    schema = body(openapi, f"/v1/query/forgelog.jobs.v1.JobQueries/{query}")
    now, past = {"at_least": ["events.jobs/3@1042"]}, {"as_of": "2026-05-09T03:12:00Z"}
    assert valid(openapi, schema, now)
    assert valid(openapi, schema, {"options": now})
    assert not valid(openapi, schema, past)
    assert not valid(openapi, schema, {"options": past})
    assert valid(openapi, schema, {"options": {"as_of": None}})
    assert "as_of" not in {each["name"] for each in openapi["paths"][path]["get"]["parameters"]}


def test_every_operation_says_how_it_is_refused(openapi: dict[str, Any]) -> None:
    for path, operations in openapi["paths"].items():
        for operation in operations.values():
            assert "default" in operation["responses"], path


def test_a_request_takes_its_page_and_options_by_their_short_names(openapi: dict[str, Any]) -> None:
    schema = body(openapi, "/v1/query/forgelog.jobs.v1.JobQueries/ListJobs")
    assert valid(openapi, schema, {"limit": 5, "cursor": "c", "as_of": "2026-05-09T03:12:00Z", "statuses": ["running"]})
    assert not valid(openapi, schema, {"limit": 10_001})
    assert not valid(openapi, schema, {"statuses": ["runing"]})


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_parameter_is_held_to_what_is_taken(openapi: dict[str, Any], route: QueryRoute) -> None:
    parameters = {each["name"]: each["schema"] for each in openapi["paths"][route.path]["get"]["parameters"]}
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
        ({"actor": "somebody"}, "another than the key's owner"),
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


@pytest.mark.parametrize("name", ["id", "project", "actor", "correlation_id"])
def test_what_surrounds_a_command_may_be_left_empty(openapi: dict[str, Any], name: str) -> None:
    for empty in ("", None):
        assert valid(openapi, body(openapi, "/v1/commands"), {"type": "SubmitJob", "data": GOOD, name: empty})


def test_a_command_may_be_a_cloudevent(openapi: dict[str, Any]) -> None:
    event = {"specversion": "1.0", "id": "a", "source": "t", "type": "forgelog.jobs.v1.SubmitJob", "data": GOOD}
    one = body(openapi, "/v1/commands", "application/cloudevents+json")
    assert valid(openapi, one, event)
    for name in ("source", "subject", "time", "traceparent", "causationid"):
        assert valid(openapi, body(openapi, "/v1/commands", "application/cloudevents+json"), {**event, name: None}), (
            name
        )
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


def test_commands_are_described_by_what_was_written_down() -> None:
    references, schemas = command_definitions()
    assert command_schemas() == (references, json.loads(json.dumps(schemas)))
