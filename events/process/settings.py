"""What a Forgelog process is told from outside: the FORGELOG_* environment variables, checked once at its start.

No error shows a variable's value: a password may be in any of them, put there by mistake.

Must not know which service reads it, nor how the servers behind the addresses were started.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from events.process import front_door
from events.process.channels import DEFAULT_SECONDS
from events.process.folders import data_folder

PREFIX = "FORGELOG_"
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


_HOST = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
_ADDRESS = re.compile(rf"({_HOST}):([0-9]{{1,5}})")
_HOSTS = re.compile(rf"(?:(?:{_HOST})?(?::[0-9]{{1,5}})?,?)*")
_SMTP = re.compile(r"(smtp|smtps|smtp\+plain)://([^\s@:/]+@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")
_CATALOGUE = re.compile(rf"https?://(?:{_HOST})(?::[0-9]{{1,5}})?(?:/[A-Za-z0-9._~/-]*)?")
_COLLECTOR = re.compile(rf"(?:https?://)?(?:{_HOST})(?::[0-9]{{1,5}})?/?")


def host_names(value: Any) -> tuple[str, ...]:
    """Those of a list, or of a text with commas between. Raises ValueError."""
    hosts = [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value
    for host in hosts:
        if not re.fullmatch(_HOST, host):
            raise ValueError("should be host names or addresses without ports, commas between, IPv6 in brackets")
    return tuple(hosts)


class SettingsError(ValueError):
    """An environment variable is missing or can't be used; the text names it and says what it should be. It never has
    the value."""


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` → its parts; an IPv6 host is written in brackets. Raises ValueError, which does not repeat it."""
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[2]) > 65535:
        raise ValueError("is not host:port, for example 127.0.0.1:7070")
    return match[1].strip("[]"), int(match[2])


def check_dsn(dsn: str) -> None:
    """Raises ValueError, which does not repeat it, when it is not the address of a database.

    What stands in the wrong place, since a password has a character that ends one, would be told as a host or a port in
    errors of others.
    """
    if not dsn.startswith(("postgresql://", "postgres://")):
        raise ValueError("should look like postgresql://user:password@host:5432/database")
    try:
        parts = urlsplit(dsn)
    except ValueError:
        parts = None
    if (
        parts is None
        or "#" in dsn
        or "@" in parts.path
        or ("@" in parts.query and "@" not in parts.netloc)
        or not _HOSTS.fullmatch(parts.netloc.rpartition("@")[2])
    ):
        raise ValueError(
            "has no host, port and database where they should be, as in postgresql://user:password@host:5432/database; "
            "in a password write / as %2F, # as %23, ? as %3F, @ as %40, % as %25"
        )


_BUCKET = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._=-]+)*/?")


def check_store_url(url: str) -> None:
    """Raises ValueError, which does not repeat it, when it is not the address of an object store."""
    if not _BUCKET.fullmatch(url) and store_folder(url) is None:
        raise ValueError(
            "should be file:///absolute/folder, s3://bucket/prefix, gs://bucket/prefix or "
            "az://account/container/prefix, "
            "with letters, digits and . _ = - in a prefix. Credentials are not a part of it: they are read from the "
            "environment (AWS_ACCESS_KEY_ID and the like)"
        )


def store_folder(url: str) -> Path | None:
    """The folder of a `file:` URL; None of any other text."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    folder = unquote(parts.path)
    plain = parts.scheme == "file" and not (parts.netloc or parts.query or parts.fragment)
    return (
        Path(folder) if plain and len(folder) > 1 and folder.isprintable() and ".." not in folder.split("/") else None
    )


class Settings(BaseSettings):
    """Read with `Settings.load()`, which turns pydantic's words into one clear line."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    kafka: str | None = None
    """Bootstrap servers, ``host:port[,host:port...]``."""
    kafka_config: Path | None = None
    """How to get in there: a file (0600) as `kcat -F` and librdkafka read it; see `events.log.access`. Left out: the
    broker asks nobody who they are."""
    postgres: str | None = None
    """``postgresql://user@host:port/database?passfile=...``; the password may be in it as well."""
    data: Path = Field(default_factory=data_folder)
    """Folder of this platform's state; see `data_folder`."""
    prefix: str = ""
    """Put before every topic's name, so that several platforms can share a broker: ``<prefix>commands.jobs``."""
    partitions: int = Field(default=4, ge=1, le=4096)
    """Partitions of topics that are still to be made; existing topics keep theirs."""
    schema_: str = Field(default="forgelog", validation_alias=PREFIX + "SCHEMA")
    """`FORGELOG_SCHEMA`: Postgres schemas of this platform start with it: ``forgelog_jobs``. (Pydantic keeps the plain
    name `schema` for itself.)"""
    listen: str = "127.0.0.1:0"
    """Where this process serves gRPC; port 0 takes any free one."""
    services: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    """Service name → ``host:port`` of its gRPC server; written ``jobs=127.0.0.1:5001,scheduling=...``."""
    services_key_file: Path | None = None
    """The key that opens the services' own ports, a file of one line (0600) that the gateway and the services read; the
    first of them makes it. Left out: ``keys/services.key`` in the data folder."""
    replicas_key_file: Path | None = None
    """What the keys of replicas' ports follow from, a file of one line (0600) that routers and node agents read; the
    service of deployments makes it. Left out: ``keys/replicas.key`` in the data folder."""
    gateway: Annotated[str, AfterValidator(front_door.normalized)] = "127.0.0.1:7070"
    """The one front door: where it listens; to its callers `https://host`, if a proxy in front of it has TLS."""
    owner_key_file: Path | None = None
    """The key that opens the gateway, a file of one line (0600) which the gateway makes if it is not there. Left out:
    ``keys/owner.key`` in the data folder."""
    gateway_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names, beside the loopback ones and that in `gateway`, by which the gateway may be called (what `Host` says by
    HTTP, `:authority` by gRPC); written ``forgelog.example,10.0.0.5``, without ports. Every other is refused, because a
    web page can have its own name point here."""
    pool: str = "default"
    """Resource pool that jobs and nodes belong to unless they say otherwise."""
    instance: str = ""
    """This replica's name, for example ``jobs-0``: its static Kafka group membership, so that a restart is not a
    change of members. ``{context}`` stands for the name of each context in the process. Empty: no static membership."""
    broker_flush_ms: int = Field(default=1000, ge=1, le=3_600_000)
    """Milliseconds between two writes of the embedded broker to the disk: a power cut costs twice as much at most."""
    disk_reserve_mb: int = Field(default=256, ge=0, le=1_000_000)
    """With fewer MiB left on its disk the embedded broker is held (`forgelog.embedded.disk`); 0: never."""
    output_bytes: int = Field(default=64 << 20, ge=1 << 10, le=1 << 40)
    """Bytes kept of what one attempt of a task prints, both streams together; what comes beyond is counted and said."""
    output_days: int = Field(default=7, ge=1, le=36_500)
    """Days that the topic of output keeps what tasks print."""
    inference_days: int = Field(default=30, ge=1, le=36_500)
    """Days for which records of requests to deployments are kept."""
    windows_days: int = Field(default=400, ge=1, le=36_500)
    """Days for which the counts of deployments' requests by the minute are kept."""
    smtp: str = ""
    """The mail server for alerts: ``smtp://user@host:587`` (STARTTLS), ``smtps://user@host:465``, or ``smtp+plain://host``
    where the way to it is safe."""
    smtp_secret: str = ""
    """The secret with the password of its user."""
    mail_from: str = "forgelog@localhost"
    """Whom mail about alerts is from."""
    webhook_private: bool = False
    """Whether webhooks of alerts may be at addresses that are not of the public internet, such as this machine's."""
    alert_secrets: Path | None = None
    """The folder with a file for each secret that alerts' channels name; left out: ``secrets`` in the data folder."""
    openlineage: str = ""
    """Where published versions of datasets are sent as events of OpenLineage: ``https://host:5000/api/v1/lineage``.
    Left out: nowhere."""
    openlineage_secret: str = ""
    """The secret with the key that is sent there as ``Authorization: Bearer``; a file beside those of alerts."""
    seal_seconds: float = Field(default=60.0, ge=0.1, le=86_400.0)
    """Seconds from the end of a run until its points are sealed: what comes later is not in the hash chain."""
    purge_days: float = Field(default=30.0, ge=0.0, le=36_500.0)
    """Days from the deletion of an experiment, a run or a logged model until it is purged; 0: it is never purged by
    itself."""
    cpu_hour_price: float = Field(default=0.0, ge=0.0, le=1e9)
    """What an hour of a CPU costs, in a currency of your choice: for the estimated costs of runs."""
    gpu_hour_price: float = Field(default=0.0, ge=0.0, le=1e9)
    """The same of a GPU."""
    objects: str | None = None
    """Where objects are, bytes that are too large for events: ``file:///folder``, ``s3://bucket/prefix``,
    ``gs://bucket/prefix`` or ``az://account/container/prefix``. Left out: ``objects`` in the data folder."""
    objects_direct: bool = True
    """Whether clients get links by which they read and write large files at the store itself, past the gateway. Only S3
    has such links. ``false`` where clients can't reach it."""
    datasets: str | None = None
    """Where pipelines keep datasets that have no place of their own: ``file:///folder`` or ``s3://bucket/prefix`` that
    all nodes can reach. Left out: ``datasets`` in the data folder, for nodes that are on one machine."""
    snapshot_events: int = Field(default=20_000, ge=100, le=100_000_000)
    """A writer keeps a snapshot of a partition after so many events: what its next start has to fold at most."""
    lost_log: Literal["anew", "stop"] = "anew"
    """What a projection does whose tables are not of the log there is, which was lost, cut or restored from an older
    copy: set them aside and build them anew from it, or stop, answer no query, and wait for `forgelog rebuild`. Where
    the embedded log is gone and its tables are there, `forgelog up` begins an empty log only if ``anew`` is given."""
    keepalive_seconds: float = Field(default=DEFAULT_SECONDS, ge=1, le=3600)
    """Quiet seconds of a gRPC connection before it is pinged (`events.process.channels` reads it, clients' too)."""
    stall_seconds: float = Field(default=30.0, ge=1.0, le=86_400.0)
    """A reader (of commands, of others' events, of events for the tables) that is behind and has not moved for so many
    seconds stands still: its service is not ready, and says where and why."""
    rpcs: int = Field(default=4_000, ge=1)
    """gRPC calls that a service (not the gateway) answers at a time, streams among them; more are refused."""
    gateway_requests: int = Field(default=1_000, ge=1)
    """Requests with commands that the gateway has in hand, those that wait for an outcome among them. Beyond this and
    the other bounds it refuses with RESOURCE_EXHAUSTED (429) and says when to come again."""
    gateway_commands: int = Field(default=20_000, ge=10_000)
    """Commands in all those requests; one batch may have 10,000."""
    gateway_bytes: int = Field(default=64 << 20, ge=16 << 20)
    """Bytes of all those requests; one may have 16 MiB."""
    gateway_backlog: int = Field(default=10_000, ge=1)
    """Most commands of one context in the log that are not decided yet, from all publishers; then more are refused."""
    gateway_object_bytes: int = Field(default=256 << 20, ge=16 << 20)
    """Bytes of objects that the gateway has in hand; a transfer has at most 16 MiB of them."""
    gateway_queries: int = Field(default=1_000, ge=1)
    gateway_streams: int = Field(default=2_000, ge=1)
    gateway_connections: int = Field(default=4_000, ge=1)
    gateway_head_seconds: float = Field(default=10.0, ge=0.1, le=3600)
    """A client that does not send a request's line and headers within so many seconds is cut."""
    gateway_body_seconds: float = Field(default=30.0, ge=0.1, le=3600)
    """A client that does not send a request's body within so many seconds is cut."""
    gateway_unread_seconds: float = Field(default=30.0, ge=0.1, le=3600)
    """A client that reads nothing of what waits for it for so many seconds is cut."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    otlp_endpoint: str | None = None
    """Where traces go (OTLP over gRPC), ``http://host:4317``; none: they are not exported."""

    @field_validator("services", mode="before")
    @classmethod
    def _parse_services(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        services: dict[str, str] = {}
        for item in filter(None, (part.strip() for part in value.split(","))):
            name, equals, address = item.partition("=")
            if not equals or not name:
                raise ValueError("should be name=host:port,name=host:port")
            if name in services:
                raise ValueError("names a service twice")
            services[name] = address
        return services

    @field_validator("services")
    @classmethod
    def _check_services(cls, value: dict[str, str]) -> dict[str, str]:
        for address in value.values():
            split_address(address)
        return value

    @field_validator("gateway_hosts", mode="before")
    @classmethod
    def _parse_hosts(cls, value: Any) -> Any:
        return host_names(value)

    @field_validator("listen")
    @classmethod
    def _check_address(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("kafka")
    @classmethod
    def _check_kafka(cls, value: str | None) -> str | None:
        for address in value.split(",") if value else ():
            split_address(address.strip())
        return value

    @field_validator("postgres")
    @classmethod
    def _check_postgres(cls, value: str | None) -> str | None:
        if value:
            check_dsn(value)
        return value

    @field_validator("objects", "datasets")
    @classmethod
    def _check_objects(cls, value: str | None) -> str | None:
        if value:
            check_store_url(value)
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_collector(cls, value: str | None) -> str | None:
        if value and not _COLLECTOR.fullmatch(value):
            raise ValueError("should be http://host:4317, without a name or a password")
        return value

    @field_validator("smtp")
    @classmethod
    def _check_smtp(cls, value: str) -> str:
        if value and not _SMTP.fullmatch(value):
            raise ValueError(
                "should be smtp://user@host:587, smtps://user@host:465 or smtp+plain://host:25, no password"
            )
        return value

    @field_validator("openlineage")
    @classmethod
    def _check_catalogue(cls, value: str) -> str:
        if value and not _CATALOGUE.fullmatch(value):
            raise ValueError("should be http://host:port/path, without a name, a password or a query")
        return value

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not _TOPIC_PREFIX.fullmatch(value):
            raise ValueError("only letters, digits, '.', '_' and '-' can be in a topic's name, at most 100 of them")
        return value

    @field_validator("schema_")
    @classmethod
    def _check_schema(cls, value: str) -> str:
        if not _SCHEMA.fullmatch(value):
            raise ValueError("lower-case letters, digits and '_' only, no digit first, at most 40 characters")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _check_level(cls, value: Any) -> Any:
        if isinstance(value, str) and value.upper() in _LEVELS:
            return value.upper()
        raise ValueError(f"should be one of {', '.join(_LEVELS)}")

    @property
    def gateway_listens(self) -> tuple[str, int]:
        """Where the gateway listens. Raises SettingsError."""
        if front_door.has_tls(self.gateway):
            raise SettingsError(f"FORGELOG_GATEWAY: {front_door.NO_TLS_ITSELF}")
        return split_address(self.gateway)

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The environment's settings, those in `given` going first. Raises SettingsError."""
        try:
            return cls(**given)
        except ValidationError as invalid:
            lines = [_explain(dict(error)) for error in invalid.errors()]
            raise SettingsError("; ".join(lines)) from None

    @property
    def kafka_required(self) -> str:
        if self.kafka:
            return self.kafka
        raise SettingsError(
            "FORGELOG_KAFKA is not set: give a broker's host:port, or start the platform with `forgelog up`"
        )

    @property
    def postgres_required(self) -> str:
        if self.postgres:
            return self.postgres
        raise SettingsError(
            "FORGELOG_POSTGRES is not set: give postgresql://user:password@host:port/database, or start the "
            "platform with `forgelog up`"
        )

    @property
    def objects_url(self) -> str:
        """Where objects are; see `objects`."""
        return self.objects or (self.data.expanduser().absolute() / "objects").as_uri()

    @property
    def datasets_url(self) -> str:
        """Where datasets are; see `datasets`."""
        return self.datasets or (self.data.expanduser().absolute() / "datasets").as_uri()

    def address_of(self, service: str) -> str:
        """Where a service's gRPC server is. Raises SettingsError."""
        if service in self.services:
            return self.services[service]
        known = ", ".join(sorted(self.services)) or "none"
        raise SettingsError(f"FORGELOG_SERVICES names no address for {service!r} (it has: {known})")


def _explain(error: dict[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    variable = PREFIX + place[0].upper().removeprefix(PREFIX).rstrip("_") if place else "the FORGELOG_ variables"
    return f"{variable}: {error['msg'].removeprefix('Value error, ')}"
