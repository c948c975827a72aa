"""What ``/openapi.json`` says of the path that takes points, which is no query."""

from __future__ import annotations

from typing import Any

from events.language.bounds import TEXT_PATTERN
from events.language.common import ID_PATTERN, MAX_ID
from events.language.experiments.points import MAX_BATCH_POINTS, MAX_KEY, TIMES
from services.gateway.points_doors import POINTS

Schema = dict[str, Any]

_INT64: Schema = {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}
NUMBER: Schema = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
"""Any number: those that JSON has none for are words."""
_NAME: Schema = {"type": "string", "pattern": TEXT_PATTERN, "maxLength": MAX_KEY}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item, "maxItems": MAX_BATCH_POINTS}


_SERIES: Schema = {
    "type": "object",
    "required": ["key", "steps", "times", "values"],
    "properties": {
        "key": {**_NAME, "minLength": 1},
        "model_id": {"type": "string", "pattern": rf"^$|{ID_PATTERN}", "maxLength": MAX_ID},
        "dataset": _NAME,
        "steps": _list(_INT64),
        "times": {
            **_list({"type": "integer", "minimum": TIMES.start, "maximum": TIMES.stop - 1}),
            "description": "Milliseconds since 1970.",
        },
        "values": _list(NUMBER),
    },
    "additionalProperties": False,
}

_BATCH: Schema = {
    "type": "object",
    "required": ["series"],
    "properties": {"run_id": {"type": "string"}, "series": {"type": "array", "minItems": 1, "items": _SERIES}},
    "additionalProperties": False,
}

_ANSWER: Schema = {
    "type": "object",
    "required": ["position", "points"],
    "properties": {"position": {"type": "string"}, "points": {"type": "integer", "minimum": 1}},
    "additionalProperties": False,
}


def points_paths(refused: Schema) -> dict[str, Schema]:
    """The path with its operation; `refused` is the answer of an error."""
    run_id = {"type": "string", "pattern": ID_PATTERN, "maxLength": MAX_ID}
    post = {
        "summary": "Log points of a run; sending them again does no harm.",
        "parameters": [{"name": "run_id", "in": "path", "required": True, "schema": run_id}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _BATCH}}},
        "responses": {
            "200": {
                "description": "The log has them.",
                "content": {"application/json": {"schema": _ANSWER}},
            },
            "default": refused,
        },
    }
    return {POINTS: {"post": post}}
