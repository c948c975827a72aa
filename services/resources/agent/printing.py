"""What a task prints, on its way from the task's pipes to files of its warden.

A task prints into pipes. If it printed into the files themselves, a program that opens ``/dev/stderr`` anew (``echo x >
/dev/stderr``, ``tee /dev/stderr``) would truncate them, and a file could grow until the disk is full. Beyond a limit
the output is read, counted and dropped: it never blocks the task.

A start must be quick. So the warden makes a file only when there is something for it: most tasks print to one stream or
none. It also keeps the ends that it gives to the task: closing them would wake it just before the task's end does.

Imports only the smallest of the standard library. Must not know where the output goes from there.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import json
import math
import os
import select
import sys
import termios
import time
from collections.abc import Callable, Sequence

from events.process import notes

PIECE = 64 << 10
FULL_DISK_PAUSE = 0.2
"""Seconds until a write to a full disk is tried again; the task is blocked once its pipe is full."""
_MAKE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
"""What the task put in the file's place is not written to."""
_SIGNAL = 128
"""Bytes of a signalfd_siginfo, which begins with the signal's number."""


class _Stream:
    def __init__(self, name: str) -> None:
        self.name = name
        self.source = self.input = self.file = -1
        self.left = b""
        """Read and not yet written."""
        self.cut = 0
        """Bytes that were not kept."""


class Printing:
    """Both streams of one attempt. Errors of its methods are OSError."""

    def __init__(self, folder: notes.Folder, names: Sequence[str], cut: str, most: int | None) -> None:
        """`names`: the files, standard output's first. `cut`: the one where the bytes that were dropped are counted.
        `most`: bytes kept of all streams together."""
        self._folder = folder
        self._streams = [_Stream(name) for name in names]
        self._cut = cut
        self._room = most

    def open(self) -> list[int]:
        """Make pipes; the ends that the task writes to."""
        for stream in self._streams:
            stream.source, stream.input = os.pipe()
            os.set_blocking(stream.source, False)
        return [stream.input for stream in self._streams]

    def wait(self, signals: int, most: float) -> int:
        """Move output on until a signal comes (`signals`: a signalfd), or for so many seconds. Its number, or 0."""
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        full = [stream for stream in self._streams if stream.left]
        for stream in self._streams:
            if not stream.left:
                poll.register(stream.source, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(math.ceil(min([most, *(FULL_DISK_PAUSE for _ in full)]) * 1000))}
        for stream in self._streams:
            if stream.left or stream.source in ready:
                self._move(stream)
        if signals in ready:
            with contextlib.suppress(BlockingIOError):
                return int.from_bytes(os.read(signals, _SIGNAL)[:4], sys.byteorder)
        return 0

    def end(self, waiting: Callable[[], None]) -> None:
        """The task is gone: move on what is left in its pipes. Others that still hold a pipe are not waited for, but a
        full disk is: then `waiting` is called first."""
        for stream in self._streams:
            self._write_all(stream, waiting)
            left = array.array("i", [0])
            fcntl.ioctl(stream.source, termios.FIONREAD, left)
            rest = left[0]
            while rest > 0 and (moved := self._move(stream)):
                rest -= moved
                self._write_all(stream, waiting)
        if any(stream.cut for stream in self._streams):
            self._note_cut()

    def _move(self, stream: _Stream) -> int:
        """Write what is left, and read and write a piece; how many bytes were read."""
        if not self._write(stream):
            return 0
        try:
            stream.left = os.read(stream.source, PIECE)
        except BlockingIOError:
            return 0
        read = len(stream.left)
        self._write(stream)
        return read

    def _write_all(self, stream: _Stream, waiting: Callable[[], None]) -> None:
        while not self._write(stream):
            waiting()
            time.sleep(FULL_DISK_PAUSE)

    def _write(self, stream: _Stream) -> bool:
        """Write what was read, as far as it is within the limit. False when the disk is full."""
        while stream.left:
            room = len(stream.left) if self._room is None else min(len(stream.left), self._room)
            done = 0
            if room:
                try:
                    done = self._append(stream, stream.left[:room])
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        return False
            if done:
                stream.left = stream.left[done:]
                if self._room is not None:
                    self._room -= done
                continue
            first = not any(each.cut for each in self._streams)
            stream.cut += len(stream.left)
            stream.left = b""
            if first:
                self._note_cut()
        return True

    def _append(self, stream: _Stream, data: bytes) -> int:
        if stream.file < 0:
            with self._folder.entered() as inside:
                stream.file = notes.opened(stream.name, inside, _MAKE)
        return os.write(stream.file, data)

    def _note_cut(self) -> None:
        counts = {stream.name: stream.cut for stream in self._streams}
        with contextlib.suppress(OSError):  # the disk is full; at the end it is tried again
            self._folder.write(self._cut, json.dumps(counts).encode())
