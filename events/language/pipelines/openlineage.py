"""Datasets as OpenLineage names them, and their locations: https://openlineage.io/docs/spec/naming. Pure.

A dataset of the platform has the namespace ``forgelog://<project>`` and its own name. Any other is named by its place:
``s3://bucket`` and a path, ``postgres://host:5432`` and ``database.schema.table``, ``file`` and a path.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

OWN = "forgelog://"

_DATABASES = {"postgresql": "postgres", "postgres": "postgres", "mysql": "mysql"}
_PORTS = {"postgres": 5432, "mysql": 3306}


class DatasetNaming(NamedTuple):
    """What OpenLineage calls a dataset."""

    namespace: str
    name: str


def naming_of(location: str) -> DatasetNaming:
    """What a place is called."""
    parts = urlsplit(location)
    if parts.scheme in _DATABASES:
        kind = _DATABASES[parts.scheme]
        host = f"{parts.hostname or 'localhost'}:{parts.port or _PORTS[kind]}"
        table = ".".join(filter(None, (parts.path.strip("/"), parts.fragment)))
        return DatasetNaming(f"{kind}://{host}", table or "?")
    if parts.scheme == "file" or not parts.scheme:
        return DatasetNaming("file", location.removeprefix("file://") or "/")
    return DatasetNaming(f"{parts.scheme}://{parts.netloc}", parts.path.strip("/") or "/")


def location_of(naming: DatasetNaming) -> str:
    """The place that is called so; of what has no URI, namespace and name with a slash between."""
    namespace, name = naming
    scheme, separator, host = namespace.partition("://")
    if namespace == "file":
        return f"file:///{name.lstrip('/')}"
    if separator and scheme in _PORTS:
        database, dot, table = name.partition(".")
        bare = re.sub(rf":{_PORTS[scheme]}$", "", host)
        return f"{scheme}://{bare}/{database}{f'#{table}' if dot else ''}"
    return f"{namespace.rstrip('/')}/{name.lstrip('/')}"


def own_dataset(naming: DatasetNaming, project: str) -> str:
    """The name of the project's dataset that is called so; empty if it is none of the project's."""
    return naming.name if naming.namespace == f"{OWN}{project}" else ""
