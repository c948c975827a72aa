"""The run's values in queries of databases: ``$name``, ``$interval_start``, ``$interval_end``. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal

from forgelog.pipelines.io import sql
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

_PARTS = re.compile(
    r"""(?P<kept>'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/) | \$(?P<name>[A-Za-z_][A-Za-z0-9_]*)""",
    re.VERBOSE | re.DOTALL,
)
"""Texts, quoted names and comments, in which a ``$`` is a sign like others; and values."""


def with_values(query: str, context: IoContext, *, plain: bool) -> str:
    """A query with the run's values as literals in place of their names, whatever signs they have in them.

    `plain`: the database has no types of times; they are texts in UTC, as its own functions write them.
    """

    def part(found: re.Match[str]) -> str:
        name = found["name"]
        return found["kept"] if name is None else _literal(_value(name, context), name, plain)

    return _PARTS.sub(part, query)


def _value(name: str, context: IoContext) -> object:
    if name in ("interval_start", "interval_end"):
        value: object = getattr(context, name)
        if value is None:
            raise StageError("query", f"asks for ${name}, and the run has no interval", "give the run one")
        return value
    if name not in context.parameters:
        known = ", ".join(sorted(context.parameters)) or "none"
        raise StageError("query", f"asks for ${name}, and the run's parameters are: {known}", "declare it")
    return context.parameters[name]


def _literal(value: object, name: str, plain: bool) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return ("1" if value else "0") if plain else str(value).upper()
    if isinstance(value, int | float | Decimal):
        return f"({value})"
    if isinstance(value, datetime):
        text = value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
        return sql.text(text) if plain else f"TIMESTAMP WITH TIME ZONE {sql.text(text + '+00')}"
    if isinstance(value, date):
        return sql.text(value.isoformat()) if plain else f"DATE {sql.text(value.isoformat())}"
    if isinstance(value, str) and "\0" not in value:
        return sql.text(value)
    raise StageError("query", f"${name} is {shown(value)}, which no query can hold", "give a text, a number or a time")
