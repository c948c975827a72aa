"""Where data lies and how it is reached: the kind of place, its address, its credentials by name.

Knows nothing of what is read or written there: that is in `sources` and `sinks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import printable, shown
from events.language.jobs.spec import SecretRef

MAX_LOCATION = 2_000
"""Most characters of a path, a URL or the name of a table."""


PlaceName = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9_-]{0,118}[a-z0-9])?)?$"), Field(examples=["crm-orders"])
]
"""What a place outside is called as a dataset: lower-case letters, digits, ``_`` and ``-``; empty: after its location.
"""


class DataSourceType(StrEnum):
    """The kind of place that data is read from or written to."""

    S3 = "s3"
    """Amazon S3, or a store that speaks its protocol."""
    GCS = "gcs"
    """Google Cloud Storage."""
    AZURE_BLOB = "azure_blob"
    """Azure Blob Storage."""
    HTTP = "http"
    """A web server: files are read by GET, rows are sent by POST."""
    DATABASE = "database"
    """A database by its URL: PostgreSQL, MySQL, SQLite, DuckDB, and what has an ADBC driver."""
    KAFKA = "kafka"
    """Topics of a Kafka cluster."""
    DATASET = "dataset"
    """A dataset of this platform, by its versions."""
    FILE_SYSTEM = "file_system"
    """A folder of the node, or one that is mounted there."""


STORES = frozenset({DataSourceType.S3, DataSourceType.GCS, DataSourceType.AZURE_BLOB})
"""Object stores: no folders, no renames, objects that are created whole."""

WATCHED_PLACES = STORES | {DataSourceType.FILE_SYSTEM}
"""Places whose files can be watched: they can be listed, and tell size and etag (or time of change) of each file."""

FILE_PLACES = STORES | {DataSourceType.FILE_SYSTEM, DataSourceType.DATASET}
"""Places that keep files, in the formats of `DataFormat`."""


def located(text: str) -> str:
    """A location that people can read as one line. Raises ValueError."""
    return printable(text) if text else text


Location = Annotated[str, StringConstraints(max_length=MAX_LOCATION), AfterValidator(located)]
"""Up to 2,000 printable characters: a path, a URL. ``${name}`` stands for a parameter of the run, and
``${interval_start}`` and ``${interval_end}`` for the bounds of its interval, which may be written in another way by
the codes of `strftime`: ``${interval_start:%Y-%m-%d}``. ``$$`` is a dollar sign."""

PLACEHOLDER = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::([^{}]*))?\})?")


def placeholders(text: str) -> tuple[str, ...]:
    """The names that a location asks for by ``${name}``, each once. Raises ValueError for a ``$`` that begins none."""
    names: dict[str, None] = {}
    for found in PLACEHOLDER.finditer(text):
        if found[0] == "$":
            raise ValueError(f"{shown(text)} has a $ that begins no parameter; write ${{name}}, or $$ for the sign")
        if found[1]:
            names[found[1]] = None
    return tuple(names)


def check_placeholders(texts: Iterable[str]) -> None:
    """Raises ValueError for the first text that has a ``$`` which begins no parameter."""
    for text in texts:
        placeholders(text)


OptionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$")]
"""1-100 letters, digits, ``_ . -``; a letter first."""

_SECRETIVE = re.compile(
    r"password|passwd|secret|token|account_key|access_key$|credential|private_key|(^|[_.-])sas([_.-]|$)|^sig$", re.I
)
"""Options that are nobody's to read. The id of an S3 key is none of them."""


class Connection(Model):
    """How a place is reached. What is secret comes by name, and only where it is used."""

    url: Location = ""
    """What paths are relative to, such as ``s3://bucket/prefix`` or ``https://host/data``; the address of a database,
    such as ``postgresql://user@host:5432/name`` or ``sqlite:////data/shop.db``; the first brokers of a Kafka cluster,
    ``host:9092,host2:9092``. Empty: paths are whole."""
    secret: SecretRef | None = None
    """Its value is a JSON object of options, which are added to `options`, or a text: the password of a database or of
    Kafka, the token of a web server, the connection string or key of an Azure account."""
    options: dict[OptionName, Annotated[str, StringConstraints(max_length=4_096)]] = Field(
        default_factory=dict, max_length=64
    )
    """Of the kind of place. Object stores: ``region``, ``endpoint`` and others of obstore. Kafka:
    ``security_protocol``, ``sasl_mechanism``, ``sasl_username``, ``ssl_cafile``. HTTP: headers of each request, and
    ``timeout`` in seconds. Databases: of their drivers."""

    @model_validator(mode="after")
    def _no_secrets(self) -> Connection:
        if self.secret is not None and self.secret.env is not None:
            raise ValueError("secret has env, and a connection reads no variable; leave env out")
        for name in self.options:
            if _SECRETIVE.search(name):
                raise ValueError(f"options has {shown(name)}, which everybody could read here; give it by secret")
        try:
            parts = urlsplit(self.url)
            password = parts.password
        except ValueError as error:
            raise ValueError(f"url {shown(self.url)} can't be read: {error}; write scheme://host/path") from None
        if password:
            raise ValueError("url has a password, which everybody could read here; leave it out and name a secret")
        for name, _ in parse_qsl(parts.query):
            if _SECRETIVE.search(name):
                raise ValueError(f"url has {shown(name)}, which everybody could read here; give it by secret")
        placeholders(self.url)
        return self
