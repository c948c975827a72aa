"""``/openapi.json``: what the HTTP side takes and answers, from the language's models and the services' descriptors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from events.language.bounds import TEXT_PATTERN
from events.language.common import DEFAULT_ACTOR, ErrorCode
from events.language.json_schemas import SCHEMAS
from events.language.proto_names import enum_prefix
from events.language.registry import command_types
from events.log.topics import CONTEXTS
from events.queries.listing import DEFAULT_PAGE, MAX_PAGE
from events.queries.requests import BELOW_ZERO, MAX_ENTRIES, MAX_TEXT, no_past
from forgelog_pb.gateway.v1 import commands_pb2
from services.gateway.catalog import Catalog, Method
from services.gateway.commands import DEFAULT_WAIT_SECONDS, MAX_BATCH, MAX_WAIT_SECONDS, Envelope
from services.gateway.forward import MAX_SECONDS
from services.gateway.http_commands import (
    BATCH,
    CLOUDEVENT_IGNORED,
    CLOUDEVENT_KEYS,
    OUTCOME,
    STRUCTURED,
    WAITS,
)
from services.gateway.http_gate import OPEN
from services.gateway.openapi_lineage import lineage_paths
from services.gateway.openapi_objects import object_paths
from services.gateway.openapi_points import NUMBER, points_paths
from services.gateway.routes import QueryRoute
from services.gateway.schemas import command_schemas
from services.gateway.transcode import EMBEDDED, INTEGERS, PAGE_REQUEST, READ_OPTIONS, is_map, shortcuts

Schema = dict[str, Any]


_SCALARS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
}
_ANSWERED: dict[int, Schema] = {**_SCALARS, FieldDescriptor.CPPTYPE_DOUBLE: NUMBER}

_POSITION: Schema = {"type": "string", "pattern": r"^[^\x00]+/[0-9]{1,10}@[0-9]{1,19}$", "maxLength": MAX_TEXT}
_POSITIONS = (f"{READ_OPTIONS}.at_least", "forgelog.log.v1.WatchEventsRequest.after")
"""Fields whose texts are places in the log."""

_TEXT: Schema = {"type": "string", "pattern": TEXT_PATTERN, "maxLength": MAX_TEXT}
_IN_PATH: Schema = {"type": "string", "pattern": r"^[^\x00/]+$", "maxLength": MAX_TEXT}

_CONTEXT: Schema = {"type": "string", "enum": list(CONTEXTS)}

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
    "cursor": "`next_cursor` of the page before; the other filters stay the same.",
}
"""What every query takes as parameters of its own."""


def document(catalog: Catalog, routes: Iterable[QueryRoute]) -> Schema:
    """The whole document, as JSON-ready data."""
    schemas, asked = _Schemas(), _Requests()
    references, of_commands = command_schemas()
    paths: dict[str, Schema] = {"/v1/commands": {"post": _commands(schemas, references)}}
    for method in catalog.methods.values():
        body = {"required": True, **_json(asked.whole(method))}
        paths[f"/v1/query/{method.service}/{method.name}"] = {
            "get": {**_query(method, schemas), "parameters": [*_parameters(method, asked), _TIMEOUT], **_maps(method)},
            "post": {**_query(method, schemas), "requestBody": body, "parameters": [_TIMEOUT]},
        }
    for route in routes:
        parameters = [*_parameters(route.method, asked, route), _TIMEOUT]
        operation = {**_query(route.method, schemas, route), "summary": route.summary, "parameters": parameters}
        paths[route.path] = {"get": operation | _maps(route.method)}
    for path, about in _OTHERS.items():
        operation = {"summary": about, "responses": {"200": {"description": about}, "default": _REFUSED}}
        if names := re.findall(r"\{(\w+)", path):
            operation["parameters"] = [_in_path(name) for name in names]
        paths[path] = {"get": operation}
    for path, operations in {**object_paths(_REFUSED), **points_paths(_REFUSED), **lineage_paths(_REFUSED)}.items():
        paths.setdefault(path, {}).update(operations)
    for path, methods in paths.items():
        for name, operation in methods.items():
            refusals = ("401", "403", "415") if name in ("post", "put") else ("401", "403")
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
            "schemas": {**schemas.found, **asked.found, **of_commands, "Error": _ERROR},
        },
    }


def _names(type_name: str) -> list[str]:
    """What a command may be called: its type, or in short its last word, where no other context's command has that."""
    short = type_name.rsplit(".", 1)[-1]
    alone = sum(each.endswith(f".{short}") for each in command_types()) == 1
    return [type_name, short] if alone else [type_name]


def _commands(schemas: _Schemas, references: Mapping[str, str]) -> Schema:
    envelope = Envelope.model_json_schema()["properties"]
    envelope["actor"] = {"const": DEFAULT_ACTOR, "description": "Whose key the request has."}
    envelope = {name: {"anyOf": [schema, {"enum": ["", None]}]} for name, schema in envelope.items()}
    plain, events = [], []
    for name, model in command_types().items():
        data = {"$ref": references[name]}
        kind = {"type": "string", "enum": _names(name)}
        needed = ["data"] if any(field.is_required() for field in model.model_fields.values()) else []
        plain.append(_closed({**envelope, "type": kind, "data": data}, "type", *needed))
        attributes = {other: envelope[ours] for other, ours in CLOUDEVENT_KEYS.items() if ours in envelope}
        ignored = {each: {"type": ["string", "null"]} for each in (*sorted(CLOUDEVENT_IGNORED), "traceparent")}
        given = {**ignored, **attributes, "specversion": {"const": "1.0"}}
        events.append(_closed({**given, "type": kind, "data": data}, "specversion", "type", *needed))
    outcome = {"content": {"application/json": {"schema": schemas.of(commands_pb2.Outcome.DESCRIPTOR)}}}
    return {
        "summary": "Publish a command; its outcome, or with wait=false its place in the log.",
        "description": "Also takes CloudEvents 1.0 (HTTP binding: structured, binary, batch).",
        "parameters": [
            {
                "name": "wait",
                "in": "query",
                "description": "For the outcome (true), for nothing, or for the event that concludes a creation.",
                "schema": {"type": "string", "enum": list(WAITS), "default": OUTCOME},
            },
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


def _query(method: Method, schemas: _Schemas, route: QueryRoute | None = None) -> Schema:
    answer = {"schema": schemas.of(method.response.DESCRIPTOR)}
    content = (
        {"application/x-ndjson": answer, "text/event-stream": answer}
        if method.streams
        else {"application/json": answer}
    )
    if route is not None and route.form == "text":
        content = {"text/plain": {"schema": {"type": "string"}}}
    responses = {"200": {"description": "The answer.", "content": content}, "default": _REFUSED}
    return {"summary": f"{method.service}.{method.name}", "responses": responses}


def _maps(method: Method) -> Schema:
    """What is said of a request's maps, whose parameters OpenAPI can't name."""
    maps = [f"{field.name}.KEY=VALUE" for field in method.request.DESCRIPTOR.fields if is_map(field)]
    return {"description": f"Also takes {', '.join(maps)}."} if maps else {}


def _parameters(method: Method, asked: _Requests, route: QueryRoute | None = None) -> Iterable[Schema]:
    in_path = route.variables if route else ()
    fixed = route.fixed if route else {}
    for field in method.request.DESCRIPTOR.fields:
        kind: Any = field.message_type
        if field.name in in_path:
            text = field.is_repeated or field.cpp_type == FieldDescriptor.CPPTYPE_STRING
            yield _in_path(field.name, _IN_PATH if text else asked.field(field))
        elif kind is not None and kind.full_name in (READ_OPTIONS, PAGE_REQUEST):
            for name, inner in kind.fields_by_name.items():
                if not (name == "as_of" and no_past(field)):
                    yield {"name": name, "in": "query", "description": _ABOUT[name], "schema": asked.field(inner)}
        elif _names_context(method, field):
            yield {"name": field.name, "in": "query", "required": True, "schema": _CONTEXT}
        elif field.name not in fixed and not is_map(field):  # a parameter's name is fixed in OpenAPI
            yield {"name": field.name, "in": "query", "schema": asked.field(field)}


def _names_context(method: Method, field: Any) -> bool:
    """Whether this field of a request says which service answers it."""
    return not method.context and field.name == "context"


def _in_path(name: str, schema: Schema = _IN_PATH) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": _CONTEXT if name == "context" else schema}


def _closed(properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _or_null(schema: Schema) -> Schema:
    """Of a field in a body, where null is as good as left out (protobuf's JSON form)."""
    return {"anyOf": [schema, {"type": "null"}]}


def _without(name: str) -> Schema:
    """Of an object that has no such property; null is as good as none."""
    return {"properties": {name: {"type": "null"}}}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


class _Schemas:
    """Schemas of answers' messages, each described once. A later version may add fields to them."""

    scalars = _ANSWERED

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
            if descriptor.full_name in EMBEDDED:
                schema["properties"][EMBEDDED[descriptor.full_name]] = {"type": "object"}
        return {"$ref": SCHEMAS + descriptor.full_name}

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
        return self.scalars.get(field.cpp_type) or self._integer(field)

    def _integer(self, field: Any) -> Schema:
        least, most = INTEGERS[field.cpp_type]
        return {"type": "integer", "minimum": least, "maximum": most}


class _Requests(_Schemas):
    """Schemas of requests' messages: what is refused by the gateway, or where queries come in, is refused by them."""

    scalars = _SCALARS

    def of(self, descriptor: Any) -> Schema:
        known = descriptor.full_name in self.found
        reference = super().of(descriptor)
        if not known and descriptor.full_name in self.found:
            schema = self.found[descriptor.full_name]
            schema["properties"] = {name: _or_null(field) for name, field in schema["properties"].items()}
            schema["additionalProperties"] = False
        return reference

    def whole(self, method: Method) -> Schema:
        """Of a request as a whole, which takes the fields of its options and its page as its own, too: once."""
        descriptor: Any = method.request.DESCRIPTOR
        reference = self.of(descriptor)
        schema = self.found[descriptor.full_name]
        properties: Schema = schema["properties"]
        for name, holder in shortcuts(descriptor).items():
            if name == "as_of" and no_past(holder):
                properties[holder.name] = {"allOf": [properties[holder.name], _without(name)]}
                continue
            properties[name] = _or_null(self.field(holder.message_type.fields_by_name[name]))
            schema.setdefault("dependentSchemas", {})[name] = {"properties": {holder.name: _without(name)}}
        if not method.context:
            properties["context"] = _CONTEXT
            schema["required"] = ["context"]
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
        if field.full_name in _POSITIONS:
            return _POSITION
        schema = super()._one(field)
        return {**schema, **_TEXT} if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else schema

    def _integer(self, field: Any) -> Schema:
        schema = super()._integer(field)
        return schema if field.type in BELOW_ZERO else {**schema, "minimum": 0}


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

_REFUSAL: Schema = {"content": {"application/json": {"schema": {"$ref": SCHEMAS + "Error"}}}}

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
