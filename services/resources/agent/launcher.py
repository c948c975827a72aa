"""The launcher: a tiny process that forks every warden, so that a start needs no new Python interpreter.

This one runs where there is no C compiler; elsewhere ``native/launcher.c`` does the same, ten times as cheaply.

Some wardens are forked ahead, so that a task waits for no fork either. The agent starts the launcher once (`command`)
and sends one message per task over a socket that keeps messages apart: its description (see `task_message`),
environment and secrets included, which so are neither in an argv nor on a disk. An idle warden takes the message and
answers on the same socket. When the agent is gone the launcher ends; its wardens stay.

Imports only the smallest of the standard library. Must not know the language.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from services.resources.agent import task_message, warden

MAX_ANSWER = 4096
"""Bytes of a warden's answer at most; socket messages beyond it would be cut."""
MAX_MESSAGE = 64 << 10
"""Bytes of a task that go into a message itself; a longer one comes as a memory file (memfd_create(2))."""


def command(fd: int, spare: str) -> list[str]:
    """The argv of a launcher that serves the socket `fd` and keeps spare folders in `spare` (on the file system of the
    tasks' folders). Without site packages, and so without what they import."""
    root = str(Path(__file__).parents[3])
    code = f"import sys; sys.path.insert(0, {root!r}); from services.resources.agent import launcher; launcher.main()"
    return [sys.executable, "-I", "-S", "-c", code, str(fd), spare]


def main() -> None:
    warden.keep_private()
    fd = int(sys.argv[1])
    os.set_inheritable(fd, False)
    Launcher(socket.socket(fileno=fd), sys.argv[2]).serve()


class Launcher:
    """Keeps some idle wardens ready: forks of this process that wait, all on the same socket, for a task each."""

    IDLE = 4
    """How many wait at most."""
    URGENT = 2
    """With fewer than these another is forked at once; beyond that, in a quiet moment."""
    QUIET = 0.004
    """Seconds without a task that make a quiet moment."""

    def __init__(self, agent: socket.socket, spare: str) -> None:
        self._agent = agent
        self._spare = spare
        self._taken, self._take = os.pipe()
        """Each warden that takes a task writes a byte."""

    def serve(self) -> None:
        """Until the agent is gone."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # wardens are watched by the agent; none becomes a zombie
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the agent's to answer
        gc.disable()
        gc.freeze()  # what is never looked at by a collector stays shared between all forks
        poll = select.poll()
        poll.register(self._taken, select.POLLIN)
        poll.register(self._agent, 0)  # only its end (POLLHUP) is news here
        idle = 0
        while True:
            wait = 0.0 if idle < self.URGENT else self.QUIET * 1000 if idle < self.IDLE else None
            for fd, _ in (ready := poll.poll(wait)):
                if fd != self._taken:
                    return
                idle -= len(os.read(self._taken, 4096))
            if not ready:
                self._fork()
                idle += 1

    def _fork(self) -> None:
        launcher = os.getpid()
        if os.fork():
            return
        code = 1
        try:
            self._wait_for_task(launcher)
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of a fork may run on into the launcher's own loop
            traceback.print_exc()
        finally:
            self._idle_no_more()
            os._exit(code)

    def _wait_for_task(self, launcher: int) -> None:
        os.close(self._taken)
        spare = f"{self._spare}/{os.getpid()}"
        warden.prepare(spare)
        if os.getppid() != launcher:
            return  # it was killed before its end could have been told: nobody would know of this one
        message, fds, _, _ = socket.recv_fds(self._agent, MAX_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return
        if fds:
            with open(fds[0], "rb") as file:
                file.seek(0)
                message = file.read()
        warden.watch_over(task_message.decode(message), spare, self._say)

    def _say(self, answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the agent is gone; the next one finds what it needs in the folder
            self._agent.send(json.dumps(answer).encode()[:MAX_ANSWER])
        self._agent.close()
        self._idle_no_more()  # only now: the next fork is not to compete with this start

    def _idle_no_more(self) -> None:
        if self._take >= 0:
            take, self._take = self._take, -1
            with contextlib.suppress(BrokenPipeError):  # the launcher has been killed
                os.write(take, b".")
            os.close(take)
