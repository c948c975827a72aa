"""``/asyncapi.json`` and ``/schemas``: what is in the log's topics. And the schemas of commands in ``/openapi.json``.

Of Forgelog's own contexts `make proto` wrote it down. That of others is made of their language when it is asked for.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import orjson

import forgelog_pb
from events.language.asyncapi import all_types, asyncapi, schema_of
from events.language.common import shown
from events.language.json_schemas import command_definitions
from events.language.registry import command_types
from events.language.wording import close_to
from events.process.settings import Settings
from services.gateway.errors import DoorError

FOLDER = Path(forgelog_pb.__path__[0], "schemas")
_END = ".schema.json"


def command_schemas() -> tuple[dict[str, str], dict[str, Any]]:
    """What `command_definitions` gives. To make it takes a second."""
    written = orjson.loads((FOLDER / "commands.json").read_bytes())
    if command_types().keys() <= written["references"].keys():
        return written["references"], written["schemas"]
    return command_definitions()


class Schemas:
    """The documents, with this platform's own broker and topics in them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def asyncapi(self) -> bytes:
        """The AsyncAPI 3 document, as JSON."""
        document = orjson.loads((FOLDER / "asyncapi.json").read_bytes())
        if not all_types().keys() <= self._written:
            own = document["components"]["messages"]
            document = asyncapi(lambda kind: own.get(kind.type_name(), {}).get("examples", []))
        document["servers"]["local"]["host"] = self._settings.kafka
        for channel in document["channels"].values():
            channel["address"] = self._settings.prefix + channel["address"]
            channel["bindings"]["kafka"]["topic"] = channel["address"]
        return orjson.dumps(document)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """All commands and events, by name."""
        return tuple(sorted({*self._written, *all_types()}))

    @cached_property
    def _written(self) -> frozenset[str]:
        """The types whose schemas are files."""
        return frozenset(path.name.removesuffix(_END) for path in FOLDER.glob(f"*{_END}"))

    def of(self, name: str) -> bytes:
        """The JSON Schema of a type, by its full name or its last part. Raises DoorError (404)."""
        found = [each for each in self.types if name in (each, each.rsplit(".", 1)[-1])]
        if len(found) == 1:
            if found[0] in self._written:
                return (FOLDER / f"{found[0]}{_END}").read_bytes()
            return orjson.dumps(schema_of(all_types()[found[0]]))
        if found:
            raise DoorError(grpc.StatusCode.NOT_FOUND, f"{shown(name)} is short for several: {' or '.join(found)}")
        short = [each.rsplit(".", 1)[-1] for each in self.types]
        close = close_to(name, self.types) or close_to(name, short) if len(name) <= 200 else ""
        hint = f"did you mean {close}?" if close else "/schemas lists all"
        raise DoorError(grpc.StatusCode.NOT_FOUND, f"there is no type {shown(name)}; {hint}")
