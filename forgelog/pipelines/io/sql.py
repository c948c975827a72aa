"""Pieces of DuckDB's SQL. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def text(value: str) -> str:
    """A text as a literal."""
    return "'" + value.replace("'", "''") + "'"


def name(value: str) -> str:
    """A name as an identifier."""
    return '"' + value.replace('"', '""') + '"'


def names(values: Iterable[str]) -> str:
    return ", ".join(name(value) for value in values)


def texts(values: Iterable[str]) -> str:
    """A list of texts."""
    return "[" + ", ".join(text(value) for value in values) + "]"


def struct(values: Mapping[str, str]) -> str:
    """A struct of texts, as options of readers take it."""
    return "{" + ", ".join(f"{text(key)}: {text(value)}" for key, value in values.items()) + "}"


def options(values: Mapping[str, str]) -> str:
    """Named parameters behind others: ``, a = 1, b = 'x'``."""
    return "".join(f", {key} = {value}" for key, value in values.items())
