"""Which platform a command or a client means, and where it listens.

In this order:

1. the address that is given: the client's argument, or ``forgelog --gateway``;
2. the folder that is given: ``forgelog --data``;
3. the address in ``FORGELOG_GATEWAY``;
4. the data folder: ``FORGELOG_DATA``, else the nearest ``.forgelog``, else ``~/.forgelog``.

A folder means the platform of that folder and no other: when it is down, that is an error. Nothing falls back to
another platform that happens to listen somewhere. Must not start anything, nor know what is asked of the platform.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from events.runtime.folders import find_data_folder
from forgelog.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from forgelog.embedded.layout import PlatformState, Wanted

EXAMPLE = "127.0.0.1:7070"

_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")

GATEWAY = "FORGELOG_GATEWAY"
DATA = "FORGELOG_DATA"


def choose(gateway: str | None, data: Path | None) -> None:
    """Make the options ``--gateway`` and ``--data`` hold for this process and those that it starts."""
    if data is not None:
        os.environ[DATA] = str(data.expanduser().absolute())
        os.environ.pop(GATEWAY, None)
    if gateway is not None:
        os.environ[GATEWAY] = checked(gateway)


def gateway_address(given: str | None = None) -> str:
    """The gateway's ``host:port``. Raises `InvalidInput` for what is no address, and `Unavailable` when the platform of
    the data folder is down."""
    return checked(given or os.environ.get(GATEWAY) or _Folder().gateway())


def server_addresses() -> tuple[str, str]:
    """Of the broker and the database of the data folder's platform. Raises `Unavailable` when it is down, and when an
    address names another one: of that only the address is known."""
    folder = _Folder()
    named = os.environ.get(GATEWAY)
    if named and not folder.listens_at(checked(named)):
        raise Unavailable(
            f"this needs the Kafka and Postgres of the platform at {named} (named by --gateway or {GATEWAY}), and "
            f"{folder.path} is not its data folder; name that by --data"
        )
    return folder.servers()


def checked(address: str) -> str:
    """An address as ``host:port``. Raises `InvalidInput`."""
    found = _ADDRESS.fullmatch(address.removeprefix("http://").rstrip("/"))
    if found is None or not 0 < int(found[2]) < 65536:
        # It is not repeated: who writes a key or a password into an address should not find it in a log.
        raise InvalidInput(f"that is not the address of a gateway; write host:port, such as {EXAMPLE}")
    return f"{found[1]}:{found[2]}"


class _Folder:
    """The data folder that is meant, and what its platform wrote of itself."""

    def __init__(self) -> None:
        from forgelog.embedded.layout import Folder

        self.path, self._why = find_data_folder()
        folder = Folder(self.path)
        self._state: PlatformState | None = folder.read_state()
        self._wanted: Wanted | None = folder.read_wanted()
        self._ports = folder.read_ports()

    def listens_at(self, address: str) -> bool:
        """Whether the address is that of this folder's gateway, as it was when the platform last ran."""
        own = (self._state and self._state.gateway) or f"127.0.0.1:{self._ports.get('gateway', 0)}"
        return own.replace("localhost:", "127.0.0.1:") == address.replace("localhost:", "127.0.0.1:")

    def gateway(self) -> str:
        state, wanted = self._known()
        if state.gateway and (state.supervisor.alive or self._lives("gateway")):
            return state.gateway
        if not state.supervisor.alive:
            raise self._down()
        if not wanted.services:
            raise Unavailable(f"the platform of {self._named()} has its servers only; it takes no commands")
        if not (port := self._ports.get("gateway")):
            raise Unavailable(f"the platform of {self._named()} is starting; 'forgelog up' waits until it is there")
        return f"127.0.0.1:{port}"  # it is starting; its port is chosen first

    def servers(self) -> tuple[str, str]:
        state, wanted = self._known()
        found = {"kafka": (wanted.kafka, state.kafka), "postgres": (wanted.postgres, state.postgres)}
        for name, (server, _) in found.items():
            if server.source == "embedded" and not state.supervisor.alive and not self._lives(name):
                raise self._down()
        if not (state.kafka and state.postgres):
            raise Unavailable(f"the platform of {self._named()} is starting; 'forgelog up' waits until it is there")
        return state.kafka, state.postgres

    def _known(self) -> tuple[PlatformState, Wanted]:
        if self._state is None or self._wanted is None:
            raise Unavailable(f"no platform was ever started in {self._named()}; start one with 'forgelog up', {_OR}")
        return self._state, self._wanted

    def _lives(self, name: str) -> bool:
        """Whether a child lives, with a supervisor or without."""
        assert self._state is not None
        return any(child.name == name and child.identity and child.identity.alive for child in self._state.children)

    def _down(self) -> Unavailable:
        return Unavailable(f"the platform of {self._named()} is down; start it with 'forgelog up', {_OR}")

    def _named(self) -> str:
        return f"{self.path} ({self._why})"


_OR = f"or name another by --data or {DATA} (its folder), or by --gateway or {GATEWAY} (its address)"
