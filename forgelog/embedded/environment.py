"""What the environment of an `up` is to children, which work in other folders. What it can't change: the variables
that a running platform was started with, and the servers that a platform's data is in. What it must say before a log is
begun anew.

The supervisor and its children have the environment of the `up` that started the supervisor. Must not show a value: it
may be a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from events.process.identity import Identity
from events.process.settings import PREFIX, Settings, SettingsError
from forgelog.embedded import kafka, postgres
from forgelog.embedded.layout import Folder, Server
from forgelog.embedded.process import EmbeddedError
from forgelog.embedded.router import RouterPlace

_FAMILIES = ("NODE_", "AGENT_", "ROUTER_")
_OTHERS = frozenset({"ENVOY", "JAVA", "PURE"})
_PATHS = ("ALERT_SECRETS", "ENVOY", "GATEWAY_CA", "REPLICAS_KEY_FILE", "ROUTER_CERT", "ROUTER_KEY", "SERVICES_KEY_FILE")
_SET_BY_THE_PLATFORM = frozenset(
    {
        "AGENT_DIR",
        "AGENT_STOP",
        "DATA",
        "GATEWAY",
        "INSTANCE",
        "KAFKA",
        "KAFKA_CONFIG",
        "LISTEN",
        "NODE_SHARE",
        "OWNER_KEY_FILE",
        "POSTGRES",
        "SERVICES",
    }
)
"""Each child is told its own; `up` itself looks at the servers' addresses."""


def from_here(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for children, which work in other folders: relative paths in it count from this process's."""
    paths = {f"{PREFIX}{name}" for name in _PATHS}
    return {
        name: str(Path(value).expanduser().absolute()) if name in paths and value else value
        for name, value in environment.items()
    }


def changed_since_start(supervisor: Identity, here: Mapping[str, str]) -> list[str]:
    """Names of variables of the platform that are set, not set, or set otherwise than in the supervisor's environment.
    Empty if that environment can't be read, or not yet: that of a process which begins its program is empty."""
    process, here = supervisor.process(), from_here(here)
    try:
        there = process.environ() if process is not None else here
    except psutil.Error:
        return []
    if not there:
        return []
    return sorted(
        name for name in {*there, *here} if _is_of_the_platform(name) and there.get(name, "") != here.get(name, "")
    )


def _is_of_the_platform(variable: str) -> bool:
    if not variable.startswith(PREFIX):
        return False
    name = variable.removeprefix(PREFIX)
    of_settings = {field.rstrip("_").upper() for field in Settings.model_fields}
    return name not in _SET_BY_THE_PLATFORM and (name in of_settings or name in _OTHERS or name.startswith(_FAMILIES))


def refuse_other_server(folder: Path, variable: str, before: Server | None, given: Server, *, running: bool) -> None:
    """That a variable names the server which the platform in `folder` has used, if it has used any. Raises
    EmbeddedError."""
    name = variable.removeprefix(PREFIX).lower()
    if before is not None and before.source != "given":
        raise EmbeddedError(
            f"the data of {folder} is in the {before.source} {name}; with the one that {variable} names it would seem "
            f"lost. Unset {variable}, or use another folder (--data); if you have moved the data there, remove "
            f"{folder / 'wanted.json'} first."
        )
    if running and before is not None and _place(before.address) != _place(given.address):
        raise EmbeddedError(
            f"the running platform uses another {name} than {variable} names: forgelog down, then up, or set the "
            f"variable as it was"
        )


def refuse_lost_log(folder: Folder, settings: Settings) -> None:
    """That an empty log is begun beside tables that were made from another one, unless `FORGELOG_LOST_LOG=anew` is
    given, and not just the default. Raises EmbeddedError."""
    before = folder.read_wanted()
    elsewhere = settings.kafka if before is None else before.kafka.source != "embedded"
    if elsewhere or ("lost_log" in settings.model_fields_set and settings.lost_log == "anew"):
        return
    log, tables = folder.path / "kafka", folder.path / "postgres"
    if kafka.has_data(log) or not postgres.has_tables(tables):
        return
    raise EmbeddedError(
        f"the log of {folder.path} is missing: {log / 'data'} is not there, or has no broker's data, and {tables} has "
        f"the tables that were made from it. Nothing was started. Restore {log} from the backup that the rest of the "
        f"folder is from, and leave {tables} where it is: without the log it is the last copy of the history. If the "
        f"log is lost for good, FORGELOG_LOST_LOG=anew forgelog up begins an empty one and keeps these tables aside "
        f"(docs/how-to/operate.md, 'When the log was lost, cut or restored')"
    )


def refuse_addresses(folder: Folder, settings: Settings) -> None:
    """That the gateway or the router can't listen where a variable says. Said before anything starts: their own words
    come minutes later. Raises EmbeddedError."""
    try:
        settings.gateway_listens  # noqa: B018 - it raises
    except SettingsError as error:
        raise EmbeddedError(str(error)) from None
    RouterPlace(folder.path).refuse_address()


def _place(address: str) -> tuple[str, ...]:
    """An address without users and passwords, which move to files."""
    if "://" not in address:
        return (address,)
    parts = urlsplit(address)
    return parts.netloc.rpartition("@")[2], parts.path
