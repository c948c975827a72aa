"""``/openapi.json``: what the HTTP side takes and answers, from the language's models and the services' descriptors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from pydantic.json_schema import models_json_schema

from events.language.bounds import TEXT_PATTERN
from events.language.common import ErrorCode
from events.language.proto_names import enum_prefix
from events.language.registry import command_types
from events.runtime.queries import DEFAULT_PAGE, MAX_PAGE
from events.runtime.requests import MAX_ENTRIES, MAX_TEXT
from forgelog_pb.gateway.v1 import commands_pb2
from services.gateway.catalog import Catalog, Method
from services.gateway.commands import DEFAULT_WAIT_SECONDS, MAX_BATCH, MAX_WAIT_SECONDS, Envelope
from services.gateway.forward import MAX_SECONDS
from services.gateway.http_commands import BATCH, CLOUDEVENT_IGNORED, CLOUDEVENT_KEYS, STRUCTURED
from services.gateway.http_gate import OPEN
from services.gateway.rest import Rest
from services.gateway.transcode import INTEGERS, PAGE_REQUEST, READ_OPTIONS, is_map, shortcuts

Schema = dict[str, Any]

_REF = "#/components/schemas/"

_SCALARS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
}

_TEXT: Schema = {"type": "string", "pattern": TEXT_PATTERN, "maxLength": MAX_TEXT}
_IN_PATH: Schema = {"type": "string", "pattern": r"^[^\x00/]+$", "maxLength": MAX_TEXT}

_TIMEOUT: Schema = {
    "name": "timeout",
    "in": "query",
    "description": "Seconds.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS},
}

_OTHERS = {
    "/healthz": "Alive.",
    "/readyz": "Ready; if not (503), what is missing.",
    "/metrics": "The gateway's metrics, for Prometheus.",
    "/metrics/{context}": "A context's metrics, for Prometheus.",
    "/asyncapi.json": "What is in the log: channels, messages, headers (AsyncAPI 3).",
    "/schemas": "The types of all commands and events.",
    "/schemas/{type}": "The JSON Schema of a command or event.",
}
"""Paths that are no query."""

_ABOUT = {
    "as_of": "Answer as of this time.",
    "at_least": "Positions (events.jobs/3@1042) that the answer must contain: read your writes.",
    "limit": f"Rows wanted, at most {MAX_PAGE}; {DEFAULT_PAGE} if left out.",
    "cursor": "`next_cursor` of the page before.",
}
"""What every query takes as parameters of its own."""


def document(catalog: Catalog, routes: Iterable[Rest]) -> Schema:
    """The whole document, as JSON-ready data."""
    schemas, asked = _Schemas(), _Requests()
    paths: dict[str, Schema] = {"/v1/commands": {"post": _commands(schemas)}}
    for method in catalog.methods.values():
        operation = _query(method, schemas)
        operation |= {"requestBody": _json(asked.whole(method.request.DESCRIPTOR)), "parameters": [_TIMEOUT]}
        paths[f"/v1/query/{method.service}/{method.name}"] = {"post": operation}
    for rest in routes:
        found = catalog.methods.get(next((p for p in catalog.methods if _is(p, rest)), ""))
        if found is not None:
            parameters = [*_parameters(found, rest, asked), _TIMEOUT]
            operation = {**_query(found, schemas, rest), "summary": rest.about, "parameters": parameters}
            if maps := [field.name for field in found.request.DESCRIPTOR.fields if is_map(field)]:
                operation["description"] = f"Also takes {', '.join(f'{name}.KEY=VALUE' for name in maps)}."
            paths[rest.path] = {"get": operation}
    for path, about in _OTHERS.items():
        paths[path] = {"get": {"summary": about, "responses": {"200": {"description": about}}}}
        if names := re.findall(r"\{(\w+)", path):
            paths[path]["get"]["parameters"] = [_in_path(name) for name in names]
    for path, methods in paths.items():
        for name, operation in methods.items():
            refusals = ("401", "403", "415") if name == "post" else ("401", "403")
            operation["responses"] |= {code: {"$ref": f"#/components/responses/{code}"} for code in refusals}
            if path in OPEN:
                operation["security"] = [{}, {_KEY: []}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Forgelog",
            "version": "1",
            "description": "Commands become events in one log; queries are answered from it.",
        },
        "security": [{_KEY: []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                _KEY: {"type": "http", "scheme": "bearer", "description": "What forgelog token prints."}
            },
            "responses": _AT_THE_DOOR,
            "schemas": {**schemas.found, **asked.found, **_command_schemas(), "Error": _ERROR},
        },
    }


def _is(path: str, rest: Rest) -> bool:
    service, method = path[1:].split("/")
    return method == rest.method and service.rsplit(".", 1)[-1] == rest.service


def _commands(schemas: _Schemas) -> Schema:
    envelope = Envelope.model_json_schema()["properties"]
    plain, events = [], []
    for name, model in command_types().items():
        data = {"$ref": _REF + model.__name__}
        kind = {"type": "string", "enum": [name, name.rsplit(".", 1)[-1]]}
        plain.append(_closed({**envelope, "type": kind, "data": data}, "type", "data"))
        attributes = {other: envelope[ours] for other, ours in CLOUDEVENT_KEYS.items() if ours in envelope}
        ignored = {each: {"type": "string"} for each in sorted(CLOUDEVENT_IGNORED)}
        given = {**ignored, **attributes, "traceparent": {"type": "string"}, "specversion": {"const": "1.0"}}
        events.append(_closed({**given, "type": kind, "data": data}, "specversion", "type", "data"))
    outcome = {"content": {"application/json": {"schema": schemas.of(commands_pb2.Outcome.DESCRIPTOR)}}}
    return {
        "summary": "Publish a command; its outcome, or with wait=false its place in the log.",
        "description": "Also takes CloudEvents 1.0 (HTTP binding: structured, binary, batch).",
        "parameters": [
            {"name": "wait", "in": "query", "schema": {"type": "boolean", "default": True}},
            {
                "name": "timeout",
                "in": "query",
                "description": "Seconds.",
                "schema": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": MAX_WAIT_SECONDS,
                    "default": DEFAULT_WAIT_SECONDS,
                },
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": plain}},
                STRUCTURED: {"schema": {"oneOf": events}},
                BATCH: {"schema": {"type": "array", "items": {"oneOf": events}, "minItems": 1, "maxItems": MAX_BATCH}},
            },
        },
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
    return {"summary": f"{method.service}.{method.name}", "responses": responses}


def _parameters(method: Method, rest: Rest, asked: _Requests) -> Iterable[Schema]:
    in_path = re.findall(r"\{(\w+)", rest.path)
    for field in method.request.DESCRIPTOR.fields:
        kind: Any = field.message_type
        if field.name in in_path:
            yield _in_path(field.name)
        elif kind is not None and kind.full_name in (READ_OPTIONS, PAGE_REQUEST):
            for name, inner in kind.fields_by_name.items():
                yield {"name": name, "in": "query", "description": _ABOUT[name], "schema": asked.field(inner)}
        elif field.name not in rest.fixed and not is_map(field):  # a parameter's name is fixed in OpenAPI
            yield {"name": field.name, "in": "query", "schema": asked.field(field)}


def _in_path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": _IN_PATH}


def _closed(properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _command_schemas() -> Schema:
    models = [(model, "validation") for model in command_types().values()]
    _, found = models_json_schema(models, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    defined: Schema = found.get("$defs", {})
    return defined


class _Schemas:
    """Schemas of answers' messages, each described once. A later version may add fields to them."""

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
        if is_map(field):
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
        return _SCALARS.get(field.cpp_type) or self._integer(field)

    def _integer(self, field: Any) -> Schema:
        least, most = INTEGERS[field.cpp_type]
        return {"type": "integer", "minimum": least, "maximum": most}


class _Requests(_Schemas):
    """Schemas of requests' messages: what is refused by the gateway, or where queries come in, is refused by them."""

    def of(self, descriptor: Any) -> Schema:
        reference = super().of(descriptor)
        if descriptor.full_name in self.found:
            self.found[descriptor.full_name]["additionalProperties"] = False
        return reference

    def whole(self, descriptor: Any) -> Schema:
        """Of a request as a whole, which takes the fields of its options and its page as its own, too."""
        reference = self.of(descriptor)
        properties = self.found[descriptor.full_name]["properties"]
        for name, holder in shortcuts(descriptor).items():
            properties[name] = self.field(holder.message_type.fields_by_name[name])
        return reference

    def field(self, field: Any) -> Schema:
        schema = super().field(field)
        if field.full_name == f"{PAGE_REQUEST}.limit":
            schema["maximum"] = MAX_PAGE
        elif schema.get("type") == "array":
            schema["maxItems"] = MAX_ENTRIES
        elif schema.get("type") == "object":
            schema |= {"maxProperties": MAX_ENTRIES, "propertyNames": _TEXT}
        return schema

    def _one(self, field: Any) -> Schema:
        schema = super()._one(field)
        return {**schema, **_TEXT} if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else schema

    def _integer(self, field: Any) -> Schema:
        return {**super()._integer(field), "minimum": 0}


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

_KEY = "key"

_REFUSAL: Schema = {"content": {"application/json": {"schema": {"$ref": _REF + "Error"}}}}

_REFUSED: Schema = {"description": "Refused; what is wrong, with which field, what to do.", **_REFUSAL}

_AT_THE_DOOR: Schema = {
    "401": {
        "description": "There is no key, or it is not this platform's.",
        "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
        **_REFUSAL,
    },
    "403": {"description": "The host is no name of the gateway, or the request is a web page's.", **_REFUSAL},
    "415": {"description": "The body is of another type, or has an encoding.", **_REFUSAL},
}
