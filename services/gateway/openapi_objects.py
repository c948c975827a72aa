"""What ``/openapi.json`` says of the paths of objects, which are no queries."""

from __future__ import annotations

from typing import Any

from events.language.objects import MAX_OBJECT_BYTES
from services.gateway.objects import MAX_ASKED, MISSING, OBJECT

Schema = dict[str, Any]

_DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}

_REF: Schema = {
    "type": "object",
    "required": ["digest", "size"],
    "properties": {"digest": _DIGEST, "size": {"type": "integer", "minimum": 0, "maximum": MAX_OBJECT_BYTES}},
    "additionalProperties": False,
}

_IN_PATH: Schema = {
    "name": "digest",
    "in": "path",
    "required": True,
    "description": "BLAKE3 of the bytes, in hexadecimal digits.",
    "schema": _DIGEST,
}

_BYTES: Schema = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


def object_paths(refused: Schema) -> dict[str, Schema]:
    """The paths with their operations; `refused` is the answer of an error."""
    get = {
        "summary": "An object's bytes.",
        "description": "Takes Range (one range). A connection that ends early means that the object is damaged.",
        "parameters": [_IN_PATH],
        "responses": {
            "200": {"description": "The bytes.", **_BYTES},
            "206": {"description": "The range.", **_BYTES},
            "416": {**refused, "description": "The object has no byte in the range."},
            "default": refused,
        },
    }
    put = {
        "summary": "Keep an object; nothing is kept of what has another digest.",
        "parameters": [_IN_PATH],
        "requestBody": {"required": True, **_BYTES},
        "responses": {"200": {"description": "It is on the disk.", **_json(_REF)}, "default": refused},
    }
    asked = {"type": "array", "items": _REF, "maxItems": MAX_ASKED}
    missing = {
        "summary": "Which of these objects have to be put.",
        "requestBody": {"required": True, **_json(_closed(objects=asked))},
        "responses": {
            "200": {"description": "Those that are not there, or were put long ago.", **_json(_closed(missing=asked))},
            "default": refused,
        },
    }
    return {OBJECT: {"get": get, "put": put}, MISSING: {"post": missing}}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _closed(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }
