"""Where a stage's data lies: files, datasets, tables, topics. An input and a sink are written in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from forgelog.errors import InvalidInput

SCHEMES = {
    "": "file_system",
    "file": "file_system",
    "s3": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure_blob",
    "abfs": "azure_blob",
    "abfss": "azure_blob",
    "http": "http",
    "https": "http",
}
"""Scheme of a URL → type of the place."""


class Place:
    """An input or a sink, with the keys that it has in a manifest."""

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self.keys = {key: value for key, value in keys.items() if value is not None}

    def document(self) -> dict[str, Any]:
        """As a manifest says it."""
        return dict(self.keys)

    def __repr__(self) -> str:
        return f"Place({self.keys!r})"


def files(path: str, *, format: str | Mapping[str, Any] | None = None, secret: str = "", **keys: Any) -> Place:
    """Files, as an input or a sink: ``forgelog.files("s3://bucket/in/*.csv")``.

    `path` is a path, or a URL with one of the schemes s3, gs, az, http, https; wild cards are allowed in an input. A
    sink is a folder. `secret` names the secret with the credentials. `keys` are those of a source or a sink in a
    manifest (``columns``, ``partitions``, ``mode``, ``partition_by``, …).

    Raises: `InvalidInput`, for a scheme that is not known.
    """
    scheme = urlsplit(path).scheme if "://" in path else ""
    if scheme not in SCHEMES:
        known = ", ".join(sorted(name for name in SCHEMES if name))
        raise InvalidInput(f"path: {path!r} has the scheme {scheme!r}; give a path, or a URL of one of {known}")
    # A key that is given says more than what is found.
    made = {"type": SCHEMES[scheme], "path": path.removeprefix("file://"), "format": _format(format)}
    return Place({**made, **_connected(keys, secret)})


def dataset(name: str, **keys: Any) -> Place:
    """A dataset of the platform: as an input its newest version (or ``version=7``), as a sink its next one."""
    return Place({"type": "dataset", "dataset": name, **keys})


def table(url: str, name: str = "", *, query: str = "", secret: str = "", **keys: Any) -> Place:
    """A table of a database, or a query as an input: ``forgelog.table("postgresql://host/shop", "orders")``.

    `url` has no password; `secret` names the secret that is one.
    """
    read = {"query": query} if query else {"table": name}
    return Place({"type": "database", **read, **_connected({**keys, "connection": {"url": url}}, secret)})


def topic(brokers: str, name: str, *, secret: str = "", **keys: Any) -> Place:
    """A topic of Kafka: ``forgelog.topic("broker:9092", "orders")``; as an input what has come since the last run."""
    return Place({"type": "kafka", "topic": name, **_connected({**keys, "connection": {"url": brokers}}, secret)})


def _format(given: str | Mapping[str, Any] | None) -> Any:
    return {"type": given} if isinstance(given, str) else given


def _connected(keys: Mapping[str, Any], secret: str) -> dict[str, Any]:
    connection = dict(keys.get("connection") or {})
    if secret:
        connection["secret"] = {"name": secret}
    return {**keys, **({"connection": connection} if connection else {})}
