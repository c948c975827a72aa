"""``/openapi.json``: what the HTTP side takes and answers, from the language's models and the services' descriptors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from pydantic.json_schema import models_json_schema

from events.language.common import ErrorCode
from events.language.proto_names import enum_prefix
from events.language.registry import command_types
from forgelog_pb.gateway.v1 import commands_pb2
from services.gateway.catalog import Catalog, Method
from services.gateway.rest import Rest
from services.gateway.transcode import PAGE_REQUEST, READ_OPTIONS

Schema = dict[str, Any]

_REF = "#/components/schemas/"

_SCALARS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
}

_SHORTCUTS: tuple[Schema, ...] = (
    {"name": "as_of", "description": "Answer as of this time.", "schema": {"type": "string", "format": "date-time"}},
    {
        "name": "at_least",
        "description": "Positions (events.jobs/3@1042) that the answer must contain: read your writes.",
        "schema": {"type": "array", "items": {"type": "string"}},
    },
)
_PAGE: tuple[Schema, ...] = (
    {"name": "limit", "description": "Rows wanted, at most 10000.", "schema": {"type": "integer", "default": 100}},
    {"name": "cursor", "description": "`next_cursor` of the page before.", "schema": {"type": "string"}},
)


def document(catalog: Catalog, routes: Iterable[Rest]) -> Schema:
    """The whole document, as JSON-ready data."""
    schemas = _Schemas()
    paths: dict[str, Schema] = {"/v1/commands": {"post": _commands(schemas)}}
    for method in catalog.methods.values():
        operation = _query(method, schemas)
        operation["requestBody"] = _json(schemas.of(method.request.DESCRIPTOR))
        paths[f"/v1/query/{method.service}/{method.name}"] = {"post": operation}
    for rest in routes:
        found = catalog.methods.get(next((p for p in catalog.methods if _is(p, rest)), ""))
        if found is not None:
            paths[rest.path] = {"get": {**_query(found, schemas, rest), "summary": rest.about}}
    for path, about in (("/healthz", "Alive."), ("/readyz", "Ready; if not (503), what is missing.")):
        paths[path] = {"get": {"summary": about, "responses": {"200": {"description": about}}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Forgelog",
            "version": "1",
            "description": "Commands become events in one log; queries are answered from it.",
        },
        "paths": paths,
        "components": {"schemas": {**schemas.found, **_command_schemas(), "Error": _ERROR}},
    }


def _is(path: str, rest: Rest) -> bool:
    service, method = path[1:].split("/")
    return method == rest.method and service.rsplit(".", 1)[-1] == rest.service


def _commands(schemas: _Schemas) -> Schema:
    variants = [
        {
            "type": "object",
            "required": ["type", "data"],
            "properties": {
                "type": {"type": "string", "enum": [name, name.rsplit(".", 1)[-1]]},
                "id": {"type": "string", "description": "Idempotency key; made if left out."},
                "project": {"type": "string", "default": "local/default"},
                "actor": {"type": "string", "default": "owner"},
                "correlation_id": {"type": "string"},
                "data": {"$ref": _REF + model.__name__},
            },
        }
        for name, model in command_types().items()
    ]
    outcome = {"content": {"application/json": {"schema": schemas.of(commands_pb2.Outcome.DESCRIPTOR)}}}
    return {
        "summary": "Publish a command; its outcome, or with wait=false its place in the log.",
        "description": "Also takes CloudEvents 1.0 (HTTP binding: structured, binary, batch).",
        "parameters": [
            {"name": "wait", "in": "query", "schema": {"type": "boolean", "default": True}},
            {"name": "timeout", "in": "query", "schema": {"type": "number", "default": 30}, "description": "Seconds."},
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": variants}}}},
        "responses": {
            "200": {"description": "What became of it.", **outcome},
            "202": {"description": "It is in the log.", **outcome},
            "default": _REFUSED,
        },
    }


def _query(method: Method, schemas: _Schemas, rest: Rest | None = None) -> Schema:
    answer = {"schema": schemas.of(method.response.DESCRIPTOR)}
    content = (
        {"application/x-ndjson": answer, "text/event-stream": answer}
        if method.streams
        else {"application/json": answer}
    )
    if rest is not None and rest.form == "text":
        content = {"text/plain": {"schema": {"type": "string"}}}
    responses = {"200": {"description": "The answer.", "content": content}, "default": _REFUSED}
    operation: Schema = {"summary": f"{method.service}.{method.name}", "responses": responses}
    if rest is not None:
        operation["parameters"] = list(_parameters(method, rest, schemas))
    return operation


def _parameters(method: Method, rest: Rest, schemas: _Schemas) -> Iterable[Schema]:
    in_path = re.findall(r"\{(\w+)", rest.path)
    for field in method.request.DESCRIPTOR.fields:
        kind = field.message_type.full_name if field.message_type is not None else ""
        if field.name in in_path:
            yield {"name": field.name, "in": "path", "required": True, "schema": {"type": "string"}}
        elif kind in (READ_OPTIONS, PAGE_REQUEST):
            for shortcut in _SHORTCUTS if kind == READ_OPTIONS else _PAGE:
                yield {**shortcut, "in": "query"}
        elif field.name not in rest.fixed:
            yield {"name": field.name, "in": "query", "schema": schemas.field(field)}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _command_schemas() -> Schema:
    models = [(model, "validation") for model in command_types().values()]
    _, found = models_json_schema(models, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    defined: Schema = found.get("$defs", {})
    return defined


class _Schemas:
    """Schemas of messages, each described once."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}

    def of(self, descriptor: Any) -> Schema:
        if descriptor.full_name == "google.protobuf.Timestamp":
            return {"type": "string", "format": "date-time"}
        if descriptor.full_name.startswith("google.protobuf."):
            return {}
        if descriptor.full_name not in self.found:
            schema = self.found[descriptor.full_name] = {"type": "object"}
            schema["properties"] = {field.name: self.field(field) for field in descriptor.fields}
        return {"$ref": _REF + descriptor.full_name}

    def field(self, field: Any) -> Schema:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = self._one(field.message_type.fields_by_name["value"])
            return {"type": "object", "additionalProperties": values}
        one = self._one(field)
        return {"type": "array", "items": one} if field.is_repeated else one

    def _one(self, field: Any) -> Schema:
        if field.message_type is not None:
            return self.of(field.message_type)
        if field.enum_type is not None:
            prefix = enum_prefix(field.enum_type.name)
            words = [each.name.removeprefix(prefix).lower() for each in field.enum_type.values if each.number]
            return {"type": "string", "enum": words}
        return _SCALARS.get(field.cpp_type, {"type": "integer"})


_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "examples": [code.value for code in ErrorCode]},
                "message": {"type": "string"},
                "errors": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {name: {"type": "string"} for name in ("field", "problem", "hint")},
                    },
                },
            },
        },
        "id": {"type": "string", "description": "Of the command it is about."},
    },
}

_REFUSED: Schema = {
    "description": "Refused; what is wrong, with which field, what to do.",
    "content": {"application/json": {"schema": {"$ref": _REF + "Error"}}},
}
