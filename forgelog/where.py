"""Which platform a command or a client means, where it listens, and the key that opens it.

In this order:

1. the address that is given: the client's argument, or ``forgelog --gateway``;
2. the folder that is given: ``forgelog --data``;
3. the address in ``FORGELOG_GATEWAY``;
4. the data folder: ``FORGELOG_DATA``, else the nearest ``.forgelog``, else ``~/.forgelog``.

A folder means the platform of that folder and no other: when it is down, that is an error. Nothing falls back to
another platform that happens to listen somewhere, nor goes to another user's program that has taken the port.

The key is that of ``FORGELOG_TOKEN``, else of the file that ``FORGELOG_TOKEN_FILE`` names, else the data folder's own.
That last one belongs to the folder's platform, and goes nowhere but to its gateway while that runs.

Must not start anything, nor know what is asked of the platform.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from events.process.folders import find_data_folder
from events.process.front_door import normalized
from events.process.keys import OWNER, KeyFileProblem, key_path, read_key
from events.process.listening import stranger
from forgelog.errors import ForgelogError, InvalidInput, Refused, Unavailable

if TYPE_CHECKING:
    from forgelog.embedded.layout import ChildState, PlatformState, Wanted

EXAMPLE = "127.0.0.1:7070"

_ROUTER = re.compile(r"(https?://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?")
_ROUTERS = "https://models.example:7080"

GATEWAY = "FORGELOG_GATEWAY"
DATA = "FORGELOG_DATA"
TOKEN = "FORGELOG_TOKEN"
TOKEN_FILE = "FORGELOG_TOKEN_FILE"
ROUTER = "FORGELOG_ROUTER"
_CERTIFICATE = "FORGELOG_ROUTER_CERT"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A platform's front door, as it was found."""

    address: str
    """``host:port``, or ``https://host:port`` where it has TLS."""
    key: str = field(repr=False)
    """What opens it; empty when none is known."""
    without: str = ""
    """Why no key is known, in words."""


class Router(NamedTuple):
    """Where deployments are asked, as it was found."""

    url: str
    own: bool = False
    """Of the data folder's platform: on this machine, and no other user's."""


def choose(gateway: str | None, data: Path | None) -> None:
    """Make the options ``--gateway`` and ``--data`` hold for this process and those that it starts."""
    if data is not None:
        os.environ[DATA] = str(data.expanduser().absolute())
        for name in (GATEWAY, TOKEN, TOKEN_FILE):  # of another platform, maybe
            os.environ.pop(name, None)
    if gateway is not None:
        os.environ[GATEWAY] = checked(gateway, "--gateway")


def gateway_address(given: str | None = None) -> str:
    """The gateway's address, as `front_door.normalized` has it. Raises `InvalidInput` for what is no address, and
    `Unavailable` when the platform of the data folder is down."""
    if given:
        return checked(given, "the given address")
    return checked(os.environ.get(GATEWAY) or _Folder().gateway())


def find_router(given: str | None = None) -> Router:
    """A router: that which is given, else that of ``FORGELOG_ROUTER``, else of the data folder's platform.
    Raises `InvalidInput` for what is no URL, and `Unavailable` when that platform has no router."""
    if text := given or os.environ.get(ROUTER):
        where = "--router" if given else ROUTER
        found = _ROUTER.fullmatch(text)
        if found is None or (found[3] and not 0 < int(found[3]) < 65536):
            raise InvalidInput(
                f"{where}: that is not the address of a router; write host:port or a URL, such as {_ROUTERS}"
            )
        return Router(f"{found[1] or 'http://'}{found[2]}{':' if found[3] else ''}{found[3] or ''}")
    named, folder = os.environ.get(GATEWAY), _Folder()
    if named and not folder.listens_at(checked(named)):
        raise Unavailable(f"the router of the platform at {named} is not known; {_NAME_ROUTER}")
    return Router(folder.router(), own=True)


def awaits_router() -> bool:
    """Whether a deployment is reached by a router that is known here: one is named, or the data folder's platform has
    one as soon as it has a deployment."""
    from forgelog.embedded.router import RouterPlace

    if os.environ.get(ROUTER):
        return True
    named, folder = os.environ.get(GATEWAY), _Folder()
    if named and not folder.listens_at(checked(named)):
        return False
    return RouterPlace(folder.path).possible


def meant(given: str | None = None) -> tuple[str, str]:
    """Which platform is meant, also while it is down: an address, or else a data folder. Raises `InvalidInput` for what
    is no address, and `Unavailable` for a folder in which no platform was ever started."""
    if given:
        return checked(given, "the given address"), ""
    if address := os.environ.get(GATEWAY):
        return checked(address), ""
    folder = _Folder()
    folder.see_started()
    return "", str(folder.path)


def find_gateway(given: str | None = None, token: str | None = None) -> Gateway:
    """The gateway that is meant and the key for it, both as they are given, else as they are found. Raises as
    `gateway_address`, and `InvalidInput` for a key that can't be used."""
    address = gateway_address(given)
    if token is not None:
        return Gateway(address, _checked_key("token", token))
    if found := _named_key():
        return Gateway(address, found)
    try:
        folder = _Folder()
        if not folder.serves(address):
            why = f"{folder.path} ({folder.why}) is not the data folder of a platform that runs at {address}"
            return Gateway(address, "", f"{_NOT_NAMED}, and {why}")
        return Gateway(address, folder.key())
    except ForgelogError as error:  # such as another user's folder
        return Gateway(address, "", f"{_NOT_NAMED}, and {error}")


def find_key() -> str:
    """The key of the platform that is meant, which need not run. Raises `Refused` when none is known."""
    if found := _named_key():
        return found
    if os.environ.get(GATEWAY):
        gateway = find_gateway()
        if gateway.key:
            return gateway.key
        raise Refused("unauthenticated", f"no key of the platform at {gateway.address} is known: {gateway.without}")
    try:
        return _Folder().key()
    except InvalidInput as error:
        raise Refused("unauthenticated", f"no key is known: {_NOT_NAMED}, and {error}") from None


def _named_key() -> str:
    """The key that the environment names; empty when it names none. Raises `InvalidInput`."""
    if text := os.environ.get(TOKEN):
        return _checked_key(TOKEN, text)
    if name := os.environ.get(TOKEN_FILE):
        try:
            return read_key(Path(name).expanduser())
        except KeyFileProblem as problem:
            raise InvalidInput(f"{TOKEN_FILE}: {problem}") from None
    return ""


def _checked_key(name: str, text: str) -> str:
    """Raises `InvalidInput`, which does not repeat it."""
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInput(f"{name}: is no key; give what `forgelog token` prints")
    return text


def server_settings() -> dict[str, Any]:
    """The settings that lead to the broker and the database of the data folder's platform.

    Raises `Unavailable` when it is down, and when an address names another one: of that only the address is known.
    """
    folder = _Folder()
    named = os.environ.get(GATEWAY)
    if named and not folder.listens_at(checked(named)):
        raise Unavailable(
            f"this needs the Kafka and Postgres of the platform at {named} (named by --gateway or {GATEWAY}), and "
            f"{folder.path} is not its data folder; name that by --data"
        )
    return folder.servers()


def checked(address: str, where: str = GATEWAY) -> str:
    """An address as `front_door.normalized` has it; `where` it was given. Raises `InvalidInput`."""
    try:
        found = normalized(address)
    except ValueError:
        found = ":0"
    if int(found.rpartition(":")[2]) == 0:
        # It is not repeated: who writes a key or a password into an address should not find it in a log.
        raise InvalidInput(
            f"{where}: that is not the address of a gateway; write host:port, such as {EXAMPLE}, or https://host if it "
            "has TLS"
        )
    return found


class _Taken(Unavailable):
    """Another user's program listens where a server of ours is to."""


class _Folder:
    """The data folder that is meant, and what its platform wrote of itself."""

    def __init__(self) -> None:
        from forgelog.embedded.layout import Folder

        self.path, self.why = find_data_folder()
        folder = Folder(self.path)
        self._state: PlatformState | None = folder.read_state()
        self._wanted: Wanted | None = folder.read_wanted()
        self._ports = folder.read_ports()

    def see_started(self) -> None:
        """Raises `Unavailable` if no platform was ever started there."""
        if self._wanted is None:
            raise self._never_started()

    def key(self) -> str:
        """Of the platform's owner. Raises `InvalidInput`."""
        try:
            return read_key(key_path(self.path, OWNER))
        except KeyFileProblem as problem:
            raise InvalidInput(str(problem)) from None

    def serves(self, address: str) -> bool:
        """Whether this folder's platform runs and the address is its gateway's: another may have it when it is down.
        Raises `Unavailable` when another user's program has it."""
        try:
            return _same(self.gateway(), address)
        except _Taken:
            raise
        except Unavailable:
            return False

    def listens_at(self, address: str) -> bool:
        """Whether the address is that of this folder's gateway, as it was when the platform last ran."""
        own = (self._state and self._state.gateway) or f"127.0.0.1:{self._ports.get('gateway', 0)}"
        return _same(own, address)

    def gateway(self) -> str:
        address = self._gateway()
        self._see_ours("the gateway", address)
        return address

    def router(self) -> str:
        """The URL of its supervisor's router."""
        state, _ = self._known()
        child = next((child for child in state.children if child.kind == "router" and child.address), None)
        if child is None or not self._lives("router"):
            raise Unavailable(
                f"the platform of {self._named()} has no router now: it starts one with its first deployment, and "
                f"needs Envoy (pip install 'forgelog[serving]'); {_NAME_ROUTER}"
            )
        self._see_ours("the router", child.address)
        return f"{'https' if _has_tls(child) else 'http'}://{child.address}"

    def _gateway(self) -> str:
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

    def servers(self) -> dict[str, Any]:
        state, wanted = self._known()
        found = {"kafka": (wanted.kafka, state.kafka), "postgres": (wanted.postgres, state.postgres)}
        for name, (server, _) in found.items():
            if server.source == "embedded" and not state.supervisor.alive and not self._lives(name):
                raise self._down()
        if not (state.kafka and state.postgres):
            raise Unavailable(f"the platform of {self._named()} is starting; 'forgelog up' waits until it is there")
        if wanted.kafka.source != "given":
            self._see_ours("kafka", state.kafka)
        if wanted.postgres.source != "given":
            parts = urlsplit(state.postgres)
            self._see_ours("postgres", f"{parts.hostname}:{parts.port or 5432}")
        return state.servers

    def _see_ours(self, name: str, address: str) -> None:
        """Raises `_Taken`. The folder may be another user's where root asks, and its database's files, too."""
        owners = [path.stat().st_uid for path in (self.path, self.path / "postgres" / "data") if path.exists()]
        host, _, port = address.rpartition(":")  # settings' own parser would load pydantic at every command
        if user := stranger(host, int(port), owners):
            raise _Taken(
                f"a program of {user} listens at {address}, which is {name}'s of {self._named()}: nothing is sent "
                f"there; 'forgelog down' and 'forgelog up' take another port"
            )

    def _known(self) -> tuple[PlatformState, Wanted]:
        if self._state is None or self._wanted is None:
            raise self._never_started()
        return self._state, self._wanted

    def _never_started(self) -> Unavailable:
        return Unavailable(f"no platform was ever started in {self._named()}; start one with 'forgelog up', {_OR}")

    def _lives(self, name: str) -> bool:
        """Whether a child lives, with a supervisor or without."""
        assert self._state is not None
        return any(child.name == name and child.identity and child.identity.alive for child in self._state.children)

    def _down(self) -> Unavailable:
        return Unavailable(f"the platform of {self._named()} is down; start it with 'forgelog up', {_OR}")

    def _named(self) -> str:
        return f"{self.path} ({self.why})"


def _has_tls(router: ChildState) -> bool:
    """By the variables that it was started with, which are not those of this process."""
    import psutil

    try:
        process = router.identity and router.identity.process()
        return bool(process and process.environ().get(_CERTIFICATE))
    except psutil.Error:
        return False


def _same(one: str, other: str) -> bool:
    return one.replace("localhost:", "127.0.0.1:") == other.replace("localhost:", "127.0.0.1:")


_NOT_NAMED = f"neither {TOKEN} nor {TOKEN_FILE} is set"
_NAME_ROUTER = f"name one by --router or {ROUTER}"
_OR = f"or name another by --data or {DATA} (its folder), or by --gateway or {GATEWAY} (its address)"
