"""The agent's side of the launcher: sends tasks to it, hears from the wardens, and replaces a launcher that has died.

A task is never started twice: its folder is made by its warden, exclusively, so a task that is sent again because a
launcher died may answer that it was `claimed` before; what became of it is then to be read in its folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.resources.agent import launcher, task_message

PATIENCE = 10.0
"""Seconds after which an unanswered task means that the launcher and its idle wardens are no good any more."""

log = logging.getLogger("forgelog.agent.launching")


@dataclass(frozen=True, slots=True)
class Launched:
    """A warden's answer."""

    warden: int = 0
    """Its pid; 0 when there is none: see `error` and `claimed`."""
    warden_ticks: int = 0
    pid: int = 0
    """The command's; 0 when it could not be started: the folder's ``exit.json`` says why."""
    ticks: int = 0
    started_at: float = 0.0
    """POSIX seconds."""
    claimed: bool = False
    """This attempt had been started before."""
    error: str = ""
    """Not even a folder could be made."""


class Launching:
    """An async context manager. Use from one event loop."""

    def __init__(self, spare: Path, program: Path | None = None, umask: int | None = None) -> None:
        """`spare`: a folder on the same file system as the tasks' folders. `program`: the compiled launcher (see
        `native`); the one in Python when there is none. `umask`: of tasks; this process's when None."""
        self._spare = spare
        self._umask = -1 if umask is None else umask
        self._program = program
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._unsent: deque[str] = deque()
        self._specs: dict[str, tuple[bytes, asyncio.Future[Launched]]] = {}
        """By key; those that have not been answered."""
        self._blocked = False
        self._watch: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Launching:
        self._loop = asyncio.get_running_loop()
        self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._end()
        for waiting in self._specs.values():
            waiting[1].cancel()

    @property
    def pid(self) -> int:
        """The present launcher's."""
        return self._process.pid if self._process is not None else 0

    def launch(self, spec: dict[str, Any]) -> asyncio.Future[Launched]:
        """Start a task; see `warden.watch_over` for what a spec has. Its `key` must be unique among those under way."""
        key: str = spec["key"]
        if self._loop is None:
            raise RuntimeError("Launching is used outside its `async with` block")
        future: asyncio.Future[Launched] = self._loop.create_future()
        self._specs[key] = (task_message.encode(spec), future)
        self._unsent.append(key)
        self._flush()
        if self._watch is None:
            self._watch = self._loop.call_later(PATIENCE, self._check, set(self._specs))
        return future

    def _check(self, before: set[str]) -> None:
        """Replaces a launcher that has answered nothing for so long. That its socket is closed is not waited for: what
        it had forked may hold it open."""
        self._watch = None
        waiting = set(self._specs)
        if waiting and before <= waiting and self._process is not None:
            log.error("the launcher has not answered for %.0f s; ending it", PATIENCE)
            self._process.kill()
            self._replace()
        if waiting:
            self._watch = self._running.call_later(PATIENCE, self._check, waiting)

    def _begin(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [str(self._program), str(theirs.fileno())]
                if self._program is not None
                else launcher.command(theirs.fileno(), str(self._spare)),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                umask=self._umask,
                env={},
                cwd="/",
            )
        ours.setblocking(False)
        self._socket = ours
        self._running.add_reader(ours.fileno(), self._hear)

    def _end(self) -> None:
        if self._socket is not None:
            self._running.remove_reader(self._socket.fileno())
            self._unblock()
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    @property
    def _running(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None
        return self._loop

    def _flush(self) -> None:
        while self._unsent and self._socket is not None:
            try:
                send(self._socket, self._specs[self._unsent[0]][0])
            except BlockingIOError:
                if not self._blocked:
                    self._running.add_writer(self._socket.fileno(), self._writable)
                    self._blocked = True
                return
            except (BrokenPipeError, ConnectionResetError):
                return  # `_hear` will notice, too, and start over
            self._unsent.popleft()

    def _writable(self) -> None:
        self._unblock()
        self._flush()

    def _unblock(self) -> None:
        if self._blocked and self._socket is not None:
            self._running.remove_writer(self._socket.fileno())
            self._blocked = False

    def _hear(self) -> None:
        assert self._socket is not None
        while True:
            try:
                message = self._socket.recv(launcher.MAX_ANSWER)
            except BlockingIOError:
                return
            except ConnectionResetError:
                message = b""
            if not message:
                self._replace()
                return
            answer = json.loads(message)
            waiting = self._specs.pop(answer.pop("key"), None)
            if waiting is not None and not waiting[1].done():
                waiting[1].set_result(Launched(**answer))

    def _replace(self) -> None:
        """The launcher has died, and every warden that it forked has answered or died too: ask again for the rest."""
        self._end()
        log.warning("the launcher has ended; starting another, with %d tasks to send again", len(self._specs))
        self._begin()
        self._unsent = deque(self._specs)
        self._flush()


def send(channel: socket.socket, spec: bytes) -> None:
    """Send a task to the launcher. Raises BlockingIOError when there is no room for it now."""
    if len(spec) <= launcher.MAX_MESSAGE:
        channel.send(spec)
        return
    file = os.memfd_create("forgelog-task", os.MFD_CLOEXEC)
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(spec)
        socket.send_fds(channel, [b"file"], [file])
    finally:
        os.close(file)
