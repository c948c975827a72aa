"""The options of `submit` and `run` that make a job a service, as the keys of a manifest. Sends nothing."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any

import typer

from forgelog.errors import InvalidInput

ServiceOption = Annotated[
    bool, typer.Option("--service", help="Others call it: it is restarted after every end, and drained before a stop.")
]
PortOption = Annotated[
    list[str] | None,
    typer.Option(
        "--port", metavar="NAME", help="A port that it listens on; FORGELOG_PORT_<NAME> has its number (repeatable)."
    ),
]
ReadyOption = Annotated[
    str | None,
    typer.Option(
        "--ready", metavar="PROBE",
        help="It may be called while this is good: http:/path, grpc, tcp, 'exec:COMMAND'; @NAME picks the port.",
    ),
]  # fmt: skip
LiveOption = Annotated[
    str | None, typer.Option("--live", metavar="PROBE", help="It is ended and run again when this stays bad.")
]
StartupOption = Annotated[
    str | None, typer.Option("--startup", metavar="PROBE", help="The other probes wait until this was good once.")
]
DrainOption = Annotated[
    str | None,
    typer.Option("--drain", metavar="DURATION", help="Without new callers, before it is stopped [default: 5s]."),
]

_PROBE = re.compile(r"(?P<kind>[a-z]+)(@(?P<port>[^:]*))?(:(?P<rest>.*))?", re.DOTALL)
_REST = {"http": "path", "grpc": "service", "exec": "command"}
"""What stands behind the colon, by kind."""


def described_service(
    service: bool, port: list[str] | None, ready: str | None, live: str | None, startup: str | None, drain: str | None
) -> dict[str, Any] | None:
    """The service that options describe, in a manifest's keys; None if they describe none. Raises `InvalidInput`."""
    ports = list(port or ())
    probes = {"startup": startup, "readiness": ready, "liveness": live}
    flags = {"startup": "--startup", "readiness": "--ready", "liveness": "--live"}
    given = {name: probe_of(text, ports, flags[name]) for name, text in probes.items() if text is not None}
    if not (service or ports or given or drain is not None):
        return None
    return {
        **({"ports": ports} if ports else {}),
        **given,
        **({"drain": drain} if drain is not None else {}),
    }


def probe_of(text: str, ports: list[str], flag: str) -> dict[str, Any]:
    """``http:/ready`` or ``grpc@admin:iris`` in a manifest's keys. Raises `InvalidInput`.

    Without a named port it asks the one that is called as its kind, if there is one, else the only one."""
    match = _PROBE.fullmatch(text)
    if match is None or match["kind"] not in ("http", "grpc", "tcp", "exec"):
        problem = f"{flag}: {text!r} is no probe"
        raise InvalidInput(f"{problem}; write http:/path, http@PORT:/path, grpc, tcp or 'exec:COMMAND ARG'")
    kind, port, rest = match["kind"], match["port"], match["rest"]
    if rest is not None and kind not in _REST:
        raise InvalidInput(f"{flag}: nothing goes behind {kind!r} but a port, as in {kind}@{rest or 'http'}")
    probe: dict[str, Any] = {"kind": kind}
    if kind == "exec":
        try:
            probe["command"] = shlex.split(rest or "")
        except ValueError as error:
            raise InvalidInput(f"{flag}: {text!r}: {error}") from None
        if not probe["command"]:
            raise InvalidInput(f"{flag}: exec needs a command: 'exec:pg_isready -q'")
    elif rest:
        probe[_REST[kind]] = rest
    if port is not None:
        probe["port"] = port
    elif kind in ports:
        probe["port"] = kind
    return probe
