"""What ``/openapi.json`` says of the path that takes events of OpenLineage."""

from __future__ import annotations

from typing import Any

from events.language.common import PROJECT_PATTERN
from services.gateway.openlineage import LINEAGE, PROJECT

Schema = dict[str, Any]


def _text(most: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": most}


_DATASET: Schema = {
    "type": "object",
    "required": ["namespace", "name"],
    "properties": {"namespace": _text(2_000), "name": _text(2_000), "facets": {"type": "object"}},
}

_EVENT: Schema = {
    "type": "object",
    "required": ["job"],
    "properties": {
        "eventType": {"type": "string", "maxLength": 50},
        "job": {
            "type": "object",
            "required": ["namespace", "name"],
            "properties": {"namespace": _text(249), "name": _text(250)},
        },
        "run": {"type": ["object", "null"], "required": ["runId"], "properties": {"runId": _text(200)}},
        "inputs": {"type": "array", "items": _DATASET, "maxItems": 1_000},
        "outputs": {"type": "array", "items": _DATASET, "maxItems": 100},
    },
    "description": "A RunEvent or JobEvent of https://openlineage.io/spec/2-0-2/OpenLineage.json.",
}

_ANSWER: Schema = {
    "type": "object",
    "required": ["datasets"],
    "properties": {"datasets": {"type": "array", "items": {"type": "string"}}},
    "additionalProperties": False,
}


def lineage_paths(refused: Schema) -> dict[str, Schema]:
    """The path with its operation; `refused` is the answer of an error."""
    project = {"type": "string", "pattern": PROJECT_PATTERN, "maxLength": 127}
    post = {
        "summary": "Record what a job outside has written, and what of, as OpenLineage's clients tell it.",
        "parameters": [{"name": PROJECT, "in": "query", "schema": project}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _EVENT}}},
        "responses": {
            "201": {
                "description": "The log has it; the ids of the datasets that were written.",
                "content": {"application/json": {"schema": _ANSWER}},
            },
            "default": refused,
        },
    }
    return {LINEAGE: {"post": post}}
