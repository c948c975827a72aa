"""JSON Schemas of every command and event, and the AsyncAPI 3 document: what a producer in any language needs.

Of all contexts, those that `FORGELOG_CONTEXTS` adds included.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from events.language.aggregates import LOG
from events.language.base import Command, Message
from events.language.common import MAX_COMMAND_BYTES, Identifier, ProjectName
from events.language.json_schemas import Named, definitions
from events.language.registry import command_types, event_types

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/components/schemas/{model}"

Examples = Callable[[type[Message]], list[dict[str, Any]]]
"""The examples of a type, as AsyncAPI has them: ``headers`` and ``payload``."""


def all_types() -> dict[str, type[Message]]:
    """Every command and event by type name."""
    return {**command_types(), **event_types()}


def schema_of(message: type[Message]) -> dict[str, Any]:
    """The JSON Schema of a command's or event's value; complete in itself."""
    schema = message.model_json_schema(schema_generator=Named)
    return {"$schema": DIALECT, "$id": f"urn:forgelog:{message.type_name()}", **schema}


def asyncapi(examples: Examples = lambda kind: []) -> dict[str, Any]:  # noqa: ARG005 - of no type there is one
    """The AsyncAPI 3 document: channels, messages with their headers, payloads and, where there are some, examples."""
    types = all_types()
    references, schemas = definitions(types.values(), _REF, ["Headers"])
    topics = sorted({kind.context for kind in types.values()} - {LOG})
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for context in topics:
        of_context = [kind for kind in types.values() if kind.context == context]
        taken: list[type[Message]] = [kind for kind in of_context if issubclass(kind, Command)]
        written = [kind for kind in of_context if not issubclass(kind, Command)]
        written += [kind for kind in types.values() if kind.context == LOG]
        for topic, kinds, action, about in (
            (f"commands.{context}", taken, "receive", "Wishes; each is decided once, in the order of its partition."),
            (f"events.{context}", written, "send", "Facts, in the order in which they came true."),
        ):
            channels[topic] = _channel(topic, kinds, about)
            operations[f"{action}.{topic}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic}"},
                "messages": [{"$ref": f"#/channels/{topic}/messages/{kind.type_name()}"} for kind in kinds],
            }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Forgelog",
            "version": "1",
            "description": "Commands in, events out, over Kafka. Messages are CloudEvents 1.0 in the Kafka binding's "
            "binary mode: attributes in headers, the value is JSON.",
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "localhost:9092", "protocol": "kafka", "description": "See `forgelog status`."}},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {name: _message(kind, references[kind], examples(kind)) for name, kind in types.items()},
            "schemas": {**schemas, "Headers": headers()},
        },
    }


def _channel(topic: str, kinds: list[type[Message]], about: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": about,
        "messages": {kind.type_name(): {"$ref": f"#/components/messages/{kind.type_name()}"} for kind in kinds},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _message(kind: type[Message], reference: str, examples: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": kind.type_name(),
        "title": kind.__name__,
        "summary": " ".join(inspect.cleandoc(kind.__doc__ or "").split()),
        "contentType": "application/json",
        "headers": {
            "allOf": [{"$ref": "#/components/schemas/Headers"}],
            "properties": {"ce_type": {"const": kind.type_name()}},
        },
        "payload": {"$ref": reference},
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"The value's `{kind.key_from}`."},
                "bindingVersion": "0.5.0",
            }
        },
        **({"examples": examples} if examples else {}),
    }


def headers() -> dict[str, Any]:
    """The JSON Schema of a message's headers."""

    def text(about: str, **more: Any) -> dict[str, Any]:
        return {"type": "string", "description": about, **more}

    project = TypeAdapter(ProjectName).json_schema()
    subject = TypeAdapter(Identifier).json_schema()
    return {
        "type": "object",
        "description": f"CloudEvents attributes. A value may be {MAX_COMMAND_BYTES:,} bytes long.",
        "required": ["ce_type", "ce_id"],
        "properties": {
            "ce_type": text("Type and version of the message, such as forgelog.jobs.v1.SubmitJob."),
            "ce_id": text("Unique. A command's idempotency key: a repeat yields the first outcome.", minLength=1),
            "ce_specversion": text("CloudEvents version.", const="1.0"),
            "content-type": text("CloudEvents' datacontenttype: the body is JSON.", const="application/json"),
            "ce_source": text("Who sends it, a URI reference."),
            "ce_subject": {**subject, "description": "Id of the aggregate it is about."},
            "ce_time": text("When it was sent, RFC 3339 with zone.", format="date-time"),
            "ce_project": {**project, "description": "organization/project; local/default when left out."},
            "ce_actor": text(
                "May be left out: a command is its owner's. An agent's reports have node:ID; nobody else is taken."
            ),
            "ce_correlationid": text("Id of the command that began the whole flow."),
            "ce_causationid": text("Id of the message that led to this one directly."),
            "traceparent": text("W3C Trace Context."),
            "ce_origin": text(
                "The aggregate that ordered what this is about, context/kind/id. Left out: only services set it."
            ),
        },
    }
