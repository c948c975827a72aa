"""Options of a connection, its secret's among them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from events.language.pipelines.connections import Connection, DataSourceType
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

_MAIN = {
    DataSourceType.DATABASE: "password",
    DataSourceType.KAFKA: "sasl_password",
    DataSourceType.HTTP: "token",
    DataSourceType.AZURE_BLOB: "account_key",
}
"""What a secret is that is no JSON."""


def options_of(connection: Connection, type_: DataSourceType, context: IoContext) -> Mapping[str, str]:
    """The options of a connection and of its secret together. Never show them: they have the secret's value."""
    options = dict(connection.options)
    if connection.secret is None:
        return options
    name = connection.secret.name
    try:
        value = context.secrets(name).strip()
    except LookupError:
        problem = f"this node has no secret {shown(name)}"
        raise StageError("connection.secret", problem, "put a file of that name into its secrets folder") from None
    try:
        given = json.loads(value)
    except (ValueError, RecursionError):
        given = value
    if isinstance(given, dict) and given.get("type") == "service_account":
        options["service_account_key"] = value
    elif isinstance(given, dict):
        if wrong := next((key for key, each in given.items() if not isinstance(each, str | int | float | bool)), ""):
            raise StageError("connection.secret", f"{shown(wrong)} in the secret is no text", "give text or a number")
        options |= {key: each if isinstance(each, str) else json.dumps(each) for key, each in given.items()}
    elif (main := _MAIN.get(type_)) is not None:
        options[main] = value
    else:
        problem = f"the secret {shown(name)} is no JSON object"
        raise StageError("connection.secret", problem, f"make it one of the options that {type_} needs")
    return options
