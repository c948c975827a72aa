"""What stages print: passed on to the worker's own stdout, in one order, so that a stage's log is a range of its bytes.

stdout and stderr of an executor are one pipe. Of each stage so many bytes are kept; what it prints beyond is counted.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from forgelog.worker.masking import Stream

_PIECE = 1 << 16
_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031
"""F_SETPIPE_SZ of Linux; others refuse it."""


@dataclass(frozen=True, slots=True)
class LogRange:
    """Where a stage's log is."""

    first: int
    """Of its bytes in what the worker has printed."""
    end: int
    dropped: int = 0
    """Bytes that were not kept."""


class Printing:
    """The worker's stdout."""

    def __init__(self, file: int, most: int, secrets: Sequence[str] = ()) -> None:
        """`file`: where it goes. `most`: bytes that are kept of a stage. `secrets`: are masked."""
        self._file, self._most = file, most
        self._masking = Stream(secrets)
        self.printed = 0
        """Bytes so far, of all stages."""
        self._first = 0
        self._dropped = 0

    def begin(self) -> None:
        """A stage begins."""
        self._first, self._dropped = self.printed, 0

    def take(self, piece: bytes) -> None:
        """What an executor has printed."""
        self._keep(self._masking.take(piece))

    def _keep(self, piece: bytes) -> None:
        kept = piece[: max(0, self._most - (self.printed - self._first))]
        if cut := len(piece) - len(kept):
            if not self._dropped and not kept.endswith(b"\n"):
                kept += b"\n"
            self._dropped += cut
        self._write(kept)

    def say(self, text: str) -> None:
        """A line of the worker's own in the stage's log, beyond what is kept of it."""
        self._write(f"[worker] {text}\n".encode(errors="replace"))

    def end(self) -> LogRange:
        """The stage has ended, and all that it printed was taken."""
        self._keep(self._masking.end())
        if self._dropped:
            self.say(f"{self._dropped} more bytes were printed; {self._most} are kept of a stage's log")
        return LogRange(self._first, self.printed, self._dropped)

    def _write(self, piece: bytes) -> None:
        self.printed += len(piece)
        left = memoryview(piece)
        while left:
            left = left[os.write(self._file, left) :]


class Pipe:
    """The pipe that an executor prints into."""

    def __init__(self, printing: Printing) -> None:
        self._printing = printing
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        with suppress(OSError):  # a user may have only so many bytes of pipes; the usual 64 KiB do as well
            fcntl.fcntl(self.writing, _SET_PIPE_SIZE, _PIPE_BYTES)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reading, self._readable)
        self._open = True

    def started(self) -> None:
        """The executor has its end."""
        os.close(self.writing)

    def drain(self) -> None:
        """Take all that was printed before this call."""
        left = (
            int.from_bytes(fcntl.ioctl(self._reading, termios.FIONREAD, b"\0" * 4), sys.byteorder) if self._open else 0
        )
        while left > 0 and (taken := self._read()):
            left -= taken

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._reading)
            os.close(self._reading)

    def _readable(self) -> None:
        self._read()

    def _read(self) -> int:
        """Take a piece; its bytes, 0 when there is none now."""
        try:
            piece = os.read(self._reading, _PIECE)
        except BlockingIOError:
            return 0
        if piece:
            self._printing.take(piece)
        else:
            self.close()
        return len(piece)
