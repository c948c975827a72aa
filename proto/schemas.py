"""Writes the schemas of `events.language.asyncapi`, with an example of each type.

`make proto` writes them into ``forgelog_pb/schemas``, from where the gateway serves them (``/asyncapi.json``,
``/schemas``); ``python -m proto.generate --schemas DIR`` into another folder. They are not committed, since they follow
from the models alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from events.language import asyncapi as language
from events.language.asyncapi import all_types, schema_of
from events.language.base import Message
from events.language.json_schemas import command_definitions
from proto.samples import TIME, example


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document, with examples."""
    return language.asyncapi(_examples)


def _examples(kind: type[Message]) -> list[dict[str, Any]]:
    sample = example(kind)
    assert isinstance(sample, Message)
    payload = json.loads(sample.model_dump_json(exclude_unset=True))
    return [{"headers": example_headers(kind, sample), "payload": payload}]


def example_headers(kind: type[Message], sample: Message) -> dict[str, str]:
    """The headers a producer writes: the first two are all that a command needs."""
    return {
        "ce_type": kind.type_name(),
        "ce_id": "018f2b6e-0000-7000-8000-000000000001",
        "ce_specversion": "1.0",
        "content-type": "application/json",
        "ce_source": "https://example.org/producer",
        "ce_subject": sample.subject() or "train-digits",
        "ce_time": TIME.isoformat().replace("+00:00", "Z"),
        "ce_project": "local/default",
        "ce_actor": "owner",
    }


def write(folder: Path) -> int:
    """Writes ``<type>.schema.json`` for each type, ``asyncapi.json``, and the commands' part of ``/openapi.json``; how
    many files."""
    folder.mkdir(parents=True, exist_ok=True)
    references, schemas = command_definitions()
    files: Mapping[str, dict[str, Any]] = {
        **{f"{name}.schema.json": schema_of(kind) for name, kind in all_types().items()},
        "asyncapi.json": asyncapi(),
        "commands.json": {"references": references, "schemas": schemas},
    }
    for name, content in files.items():
        part = folder / f"{name}.part"
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        part.replace(folder / name)  # a reader finds a whole file, this one or the one before
    return len(files)
