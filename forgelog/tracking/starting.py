"""The process beside a program that sends what its runs keep in the spool: started, woken, started again.

It is a process of its own, so nothing of gRPC is in the program (which may fork), its thread takes no turn of the
program's, and it outlives a kill -9. It learns of the program's end by its standard input.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from forgelog.tracking.around import environment
from forgelog.tracking.spool import Destination, Spool

_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from forgelog.tracking.sender import main; main()"
"""Finds this very package, also where it is not installed; what else is in its folder comes last."""


class Sender:
    """The process for one platform."""

    def __init__(self, spool: Spool, destination: Destination, token: str | None, *, starts: bool = True) -> None:
        """`starts`: whether one is started here; else another process' one looks after the spool."""
        self._spool = spool
        self._destination = destination
        self._token = token
        self._starts = starts
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._lock = threading.Lock()
        self.problem = ""
        """Why there is none."""

    def wake(self) -> bool:
        """Have it look at once; start it if it does not run. Whether it runs. A forked process does not start one: its
        parent's looks after what it keeps."""
        if not self._starts or self._pid not in (0, os.getpid()):
            return False
        if not self._lock.acquire(blocking=False):
            return True  # another thread does it; or did when this process was forked
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            if self._process is None or self._process.stdin is None:
                return False
            with suppress(OSError):
                os.write(self._process.stdin.fileno(), b"\n")
                return True
            return False
        finally:
            self._lock.release()

    def _start(self) -> None:
        """Not stopped by the terminal's Ctrl-C, which is for the program."""
        if not sys.executable:
            self.problem = "there is no Python to start beside this program (sys.executable is empty)"
            return
        home = str(Path(__file__).resolve().parents[2])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, home, str(self._spool.path), "--follow", str(os.getpid())],
                env=environment(self._destination, self._token),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)  # one that reads nothing must not hold the program
        except OSError as error:
            self._process = None
            self.problem = f"{sys.executable} can't be started: {error.strerror or error}"
            return
        self._pid = os.getpid()
        self.problem = ""


_senders: dict[tuple[str, Destination, str | None], Sender] = {}


# A forked process that begins a run has a sender of its own.
os.register_at_fork(after_in_child=_senders.clear)


def sender(spool: Spool, destination: Destination, token: str | None) -> Sender:
    """The one for this platform."""
    key = (str(spool.path), destination, token)
    return _senders.setdefault(key, Sender(spool, destination, token))
