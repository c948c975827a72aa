"""Reads what Envoy writes of each request, as it is written, and keeps the file from growing without bound.

Knows nothing of what the lines are for.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

from services.deployments.router.envoy import EnvoyError
from services.deployments.router.spool import aside

log = logging.getLogger("forgelog.router")

LOOK_SECONDS = 0.25
MOST_BYTES = 64 << 20
"""A longer file is moved aside (`spool.aside`); Envoy then begins another one."""

_CHUNK = 1 << 20


class AccessLog:
    """The lines of one file from now on. `reopen` lets Envoy begin a new file in its place."""

    def __init__(self, path: Path, reopen: Callable[[], Awaitable[object]], most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._reopen = reopen
        self._most_bytes = most_bytes
        self._file = -1
        self._rest = b""
        self.broken = 0
        """Lines that were no JSON object: a crash of Envoy may cut one."""

    async def follow(self, take: Callable[[list[dict[str, Any]]], None]) -> None:
        """Give the requests as they come, until cancelled."""
        try:
            self._open(at_end=True)
            while True:
                while lines := self._read():
                    take(lines)
                    await asyncio.sleep(0)
                await self._exchange(take)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._close()

    def _open(self, *, at_end: bool = False) -> None:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # Envoy has not begun
        if at_end:
            os.lseek(self._file, 0, os.SEEK_END)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _read(self) -> list[dict[str, Any]]:
        """Some whole lines; none where there is nothing new."""
        if self._file < 0:
            self._open()
        found: list[dict[str, Any]] = []
        while self._file >= 0 and not found and (data := os.read(self._file, _CHUNK)):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                try:
                    request = orjson.loads(line)
                except ValueError:
                    request = None
                if isinstance(request, dict):
                    found.append(request)
                else:
                    self.broken += 1
        return found

    async def _exchange(self, take: Callable[[list[dict[str, Any]]], None]) -> None:
        """Move a long file aside; what is still written to it is read to its end."""
        if self._file < 0 or os.fstat(self._file).st_size < self._most_bytes:
            return
        self._path.replace(aside(self._path))
        try:
            await self._reopen()
        except EnvoyError as error:  # it is away, and begins a new file when it is back
            log.warning("Envoy can't be told of its new access log: %s", error)
        while not self._path.exists():
            await asyncio.sleep(LOOK_SECONDS)
            while lines := self._read():
                take(lines)
        while lines := self._read():
            take(lines)
        self._close()
        self._rest = b""
