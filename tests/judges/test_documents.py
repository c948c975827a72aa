"""The documents that the gateway serves are what AsyncAPI and OpenAPI define: their own validators say so."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from events.process.settings import Settings
from services.gateway.catalog import Catalog
from services.gateway.openapi import document
from services.gateway.routes import query_routes
from services.gateway.schemas import Schemas
from tests.judges import tools

ERROR, WARNING = 0, 1
"""Severities of AsyncAPI's parser; then come information and hints."""

Diagnostics = list[dict[str, Any]]


@pytest.fixture(scope="module")
def asyncapi() -> dict[str, Any]:
    served: dict[str, Any] = json.loads(Schemas(Settings(kafka="127.0.0.1:9092", prefix="team-a.")).asyncapi)
    return served


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    catalog = Catalog()
    return document(catalog, query_routes(catalog))


@pytest.fixture(scope="module")
def schema() -> jsonschema_rs.Draft7Validator:
    return jsonschema_rs.Draft7Validator(json.loads((tools.ASYNCAPI / "schema-3.0.0.json").read_text()))


@pytest.fixture(scope="module")
def parser() -> Path:
    with tools.skipped_if_missing():
        return tools.asyncapi_parser()


def diagnostics(parser: Path, document: dict[str, Any]) -> Diagnostics:
    """What AsyncAPI's parser says of a document, but for what it says for information only."""
    ran = subprocess.run(
        ["node", str(tools.ASYNCAPI / "validate.mjs")],
        cwd=parser,
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=tools.SHORT,
    )
    assert ran.returncode == 0, ran.stderr
    found: Diagnostics = json.loads(ran.stdout)
    return [each for each in found if each["severity"] in (ERROR, WARNING)]


def components_of(node: Any, components: dict[str, Any]) -> dict[str, Any]:
    """Those that a part of a document names, and those that they name in turn."""
    found: dict[str, Any] = {}
    todo = [node]
    while todo:
        for kind, name in re.findall(r'"#/components/([^/"]+)/([^/"]+)"', json.dumps(todo.pop())):
            if name not in found.setdefault(kind, {}):
                found[kind][name] = components[kind][name]
                todo.append(found[kind][name])
    return found


def test_the_asyncapi_document_follows_asyncapis_schema(
    asyncapi: dict[str, Any], schema: jsonschema_rs.Draft7Validator
) -> None:
    assert [f"{'/'.join(map(str, each.instance_path))}: {each.message}" for each in schema.iter_errors(asyncapi)] == []


def test_asyncapis_parser_finds_nothing_in_the_asyncapi_document(asyncapi: dict[str, Any], parser: Path) -> None:
    assert diagnostics(parser, asyncapi) == []


def test_asyncapis_judges_find_what_is_wrong(
    asyncapi: dict[str, Any], schema: jsonschema_rs.Draft7Validator, parser: Path
) -> None:
    wrong = copy.deepcopy(asyncapi)
    wrong["operations"]["receive.commands.jobs"]["action"] = "publish"
    assert not schema.is_valid(wrong)
    wrong = copy.deepcopy(asyncapi)
    wrong["operations"] = {"receive.commands.jobs": wrong["operations"]["receive.commands.jobs"]}
    wrong["channels"] = {name: wrong["channels"][name] for name in ("commands.jobs", "events.jobs")}
    wrong["components"] = components_of(wrong["channels"], wrong["components"])
    message = "#/channels/events.jobs/messages/forgelog.jobs.v1.JobQueued"
    wrong["operations"]["receive.commands.jobs"]["messages"] = [{"$ref": message}]
    assert [each["path"][:2] for each in diagnostics(parser, wrong)] == [["operations", "receive.commands.jobs"]]


def test_the_openapi_document_follows_openapis_definition(openapi: dict[str, Any]) -> None:
    assert [str(each) for each in OpenAPIV31SpecValidator(openapi).iter_errors()] == []


def test_openapis_judge_finds_what_is_wrong(openapi: dict[str, Any]) -> None:
    path = "/v1/jobs/{job_id}"
    one = {**openapi, "paths": {path: copy.deepcopy(openapi["paths"][path])}}
    del one["paths"][path]["get"]["parameters"]
    assert "job_id" in str(next(OpenAPIV31SpecValidator(one).iter_errors()))
