"""The language for people: docs/reference/language.md (how to send and read) and language-types.md (every type)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args, get_origin

from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from events.language.asyncapi import headers
from events.language.base import Message, Model
from events.language.common import MAX_ARRAY_TASKS, MAX_COMMAND_BYTES
from events.language.contexts import contexts
from events.language.descriptions import descriptions_of
from events.language.jobs import SubmitJob
from events.language.planned import Planned, planned_of
from events.language.registry import command_types, event_types
from proto.samples import example
from proto.shapes import PACKAGES, bounds_of, told_apart, types_of, unwrap

_NOTE = "<!-- Generated from events/language by `make proto`: change the models there, not this file. -->"
_ALIASES = {"common": "values that all contexts share", "log": "what the log itself writes, in every context"}


def documents() -> dict[str, str]:
    """Both documents by their paths below the repository."""
    return {
        "docs/reference/language.md": "\n".join(_language()) + "\n",
        "docs/reference/language-types.md": "\n".join(_types()) + "\n",
    }


def _language() -> Iterator[str]:
    yield f"""\
# The language

{_NOTE}

Forgelog takes **commands** (wishes) and writes **events** (facts). Both are Kafka records: CloudEvents 1.0 in the Kafka
binding's binary mode, so attributes are headers and the value is JSON. Any client that writes headers can take part.

- Commands go to `commands.<context>`, events come from `events.<context>`. The contexts are:
{_contexts()}
- The record's key decides the partition, and with it the order: use the value of the field named under "key" below,
  and Kafka's default partitioner (murmur2). A command under another key is forwarded to where it belongs.
- A command that can't be carried out becomes a `CommandRejected` event with a code and the fields at fault: refusals
  are history too. What is no command at all (broken JSON, an unknown type, no `ce_id`) also goes to
  `deadletter.<context>` with the reason.
- A repeat of a `ce_id` changes nothing: `CommandNoted` points at the first outcome. Another body under the same `ce_id`
  is refused.

The smallest command, with `kcat`:

```sh
{_kcat()}
```

The gateway serves JSON Schemas of all types at `/schemas`, and an AsyncAPI 3 document at `/asyncapi.json`. The same
types as protobuf messages, for gRPC: `proto/forgelog/<context>/v1/types.proto`. In protobuf an enum's `running` is
`JOB_STATUS_RUNNING`, and a field left out has its default. Where null means something else than the default, as in
`restart.max_restarts`, -1 is null there.

## Headers

| header | needed | meaning |
|---|---|---|"""
    described = headers()
    for name, schema in described["properties"].items():
        needed = "yes" if name in described["required"] else ""
        yield f"| `{name}` | {needed} | {schema['description']} |"
    yield f"""
## Bounds

- A value has at most {MAX_COMMAND_BYTES:,} bytes; an array at most {MAX_ARRAY_TASKS:,} tasks.
- Ids are 1 to 128 lower-case letters, digits, `.`, `_` and `-`, and start and end with a letter or digit. Names are 1
  to 200 printable characters of any script.
- Numbers are finite. Unknown fields, NaN and infinities are refused. Every bound stands beside its field in
  [the types](language-types.md).
- Times are RFC 3339 with a zone. Amounts of memory and storage are bytes, durations seconds; the unit is in the name.
- Tasks of an array are written as ranges: `"0-3,7"`."""
    places = "[Where each is decided, projected and queried](events.md) in the code.\n\n"
    for title, about, types in (("Commands", "", command_types()), ("Events", places, event_types())):
        yield f"\n## {title}\n\n{about}| type | key | meaning |\n|---|---|---|"
        for name, kind in types.items():
            yield f"| [`{name}`](language-types.md#{_anchor(kind)}) | `{kind.key_from}` | {_line(kind)} |"
    yield """
## Fields that are not acted on yet

The language has them; a command that sets one is refused as `unimplemented` with the field's path. Nothing is silently
ignored.

| field | awaits |
|---|---|"""
    for command in command_types().values():
        for path, mark in planned_of(command):
            only = " (" + ", ".join(f"`{word}`" for word in sorted(mark.values)) + ")" if mark.values else ""
            yield f"| `{told_apart(command)}.{path}`{only} | {mark.by} |"


def _contexts() -> str:
    return "\n".join(f"    - `{spec.name}`: {spec.summary}" for spec in contexts().values())


def _kcat() -> str:
    payload = json.dumps(json.loads(example(SubmitJob).model_dump_json(exclude_unset=True)))
    return (
        f"echo '{payload}' |\n"
        "  kcat -F ~/.forgelog/kcat.conf -t commands.jobs -P -k my-first-job \\\n"
        f"    -H ce_type={SubmitJob.type_name()} -H ce_id=my-first-job"
    )


def _types() -> Iterator[str]:
    yield f"# Types of the language\n\n{_NOTE}\n\nHow they travel is in [the language](language.md)."
    for context in PACKAGES:
        yield f"\n## {context.capitalize()}: {_ALIASES.get(context, f'`forgelog.{context}.v1`')}"
        for kind in types_of(context):
            yield f"\n### {told_apart(kind)}\n"
            doc = inspect.cleandoc(kind.__dict__.get("__doc__") or "").replace("``", "`")
            if issubclass(kind, Message):
                yield f"`{kind.type_name()}`\n"
            if doc:
                yield f"{doc}\n"
            yield from _enum(kind) if issubclass(kind, StrEnum) else _model(kind)


def _enum(kind: type[StrEnum]) -> Iterator[str]:
    docs = descriptions_of(kind)
    yield "| word | meaning |\n|---|---|"
    for member in kind:
        yield f"| `{member.value}` | {_cell(docs.get(member.name, ''))} |"


def _model(kind: type[Model]) -> Iterator[str]:
    if not kind.model_fields:
        yield "No fields."
        return
    texts = descriptions_of(kind)
    yield "| field | type | bounds and default | meaning |\n|---|---|---|---|"
    for name, info in kind.model_fields.items():
        needed = " (required)" if info.is_required() else ""
        planned = next((item.by for item in info.metadata if isinstance(item, Planned) and not item.values), None)
        meaning = _cell(texts.get(name, "")) + (f" *Not acted on yet: awaits {planned}.*" if planned else "")
        yield f"| `{name}`{needed} | {_kind(info)} | {bounds_of(name, info)} | {meaning.strip()} |"


def _kind(info: FieldInfo) -> str:
    return _words(info.annotation)


def _words(annotation: Any) -> str:
    kind, _, optional = unwrap(annotation, ())
    origin = get_origin(kind)
    if origin is tuple:
        words = f"list of {_words(get_args(kind)[0])}"
    elif origin is dict:
        words = f"map to {_words(get_args(kind)[1])}"
    elif kind is AwareDatetime or kind is datetime:
        words = "time"
    elif kind is Any:
        words = "any value"
    elif issubclass(kind, Model | StrEnum):
        words = f"[{told_apart(kind)}](#{_anchor(kind)})"
    else:
        words = {str: "text", int: "whole number", float: "number", bool: "true or false"}[kind]
    return f"{words} or null" if optional else words


def _anchor(kind: type[Model] | type[StrEnum]) -> str:
    """Of a type's section. Renderers make it of the title: lower case, letters and digits alone."""
    return told_apart(kind).lower().replace(".", "")


def _line(kind: type[Message]) -> str:
    return _cell(inspect.cleandoc(kind.__dict__.get("__doc__") or "").split("\n\n")[0])


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())
