"""Databases by their URLs: which kind, and how it is entered. Pure but for the secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from events.language.pipelines.connections import Connection, DataSourceType
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.io.credentials import options_of
from forgelog.pipelines.io.paths import filled, literal
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError


class DatabaseUrl(NamedTuple):
    """A database."""

    kind: str
    """``postgresql``, ``mysql``, ``sqlite``, ``duckdb``, or the name of another ADBC driver."""
    url: str
    """With the password: never show it."""
    path: str
    """Of SQLite and DuckDB: the file."""
    options: Mapping[str, str]


_KINDS = {"postgres": "postgresql", "mariadb": "mysql", "sqlite3": "sqlite"}


def database_url(connection: Connection, context: IoContext) -> DatabaseUrl:
    """The database that a connection names, with its secret."""
    text = literal(filled(connection.url, context, "connection.url"))
    parts = urlsplit(text)
    kind = _KINDS.get(parts.scheme, parts.scheme)
    if not kind:
        remedy = "write a URL: postgresql://user@host:5432/name, sqlite:////folder/file.db"
        raise StageError("connection.url", f"{shown(text)} says no kind of database", remedy)
    options = dict(options_of(connection, DataSourceType.DATABASE, context))
    if kind in ("sqlite", "duckdb"):
        path = unquote(parts.path).removeprefix("/") if parts.path.startswith("//") else unquote(parts.path)
        if parts.netloc or not path.startswith("/"):
            raise StageError(
                "connection.url", f"{shown(text)} has no absolute path", f"write {kind}:////folder/file.db"
            )
        return DatabaseUrl(kind, text, path, options)
    password = options.pop("password", "")
    if "://" in password:
        return DatabaseUrl(kind, password, "", options)
    user = quote(unquote(parts.username or ""), safe="")
    entered = f"{user}:{quote(password, safe='')}@" if password else f"{user}@" if user else ""
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(part for part in (parts.query, urlencode(options)) if part)
    return DatabaseUrl(kind, urlunsplit((parts.scheme, entered + host, parts.path, query, "")), "", options)
