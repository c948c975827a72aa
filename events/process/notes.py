"""Reads and writes small files in folders that tasks can reach, as if each of them were out to harm.

A task may put a link in place of a file or of a whole folder, a pipe that never answers, a second name of a file
elsewhere. So no link is followed from the folder that holds the attempts' folders on, nothing but a plain file is read
or written, and no open waits. (What a task can do to the agent's user's files by itself, it can do all the same while
it runs as that user.)

Errors are OSError, also where something else stands in a file's place. Imports only the smallest of the standard
library: wardens use it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MOST = 1 << 20
"""Bytes of a note that are read."""

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN


@contextmanager
def entered(path: str) -> Iterator[int]:
    """A descriptor of a folder that a task can reach, of use for what is in it only. The folder above must not be a
    link either."""
    folder = _enter(path)
    try:
        yield folder
    finally:
        os.close(folder)


def _enter(path: str) -> int:
    above, name = os.path.split(path)
    parent = os.open(above, _FOLDER)
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    finally:
        os.close(parent)


class Folder:
    """A folder that a task can reach. Its path is followed at each use, unless it is open."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1

    def open(self) -> None:
        """Enter it once for all uses until `close`: what a task puts in its place meanwhile is not used. A folder that
        can't be entered (it is gone, or no descriptor is left) stays closed."""
        if self._descriptor < 0:
            with suppress(OSError):
                self._descriptor = _enter(self.path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def entered(self) -> Iterator[int]:
        """A descriptor of it, as that of `entered`."""
        if self._descriptor >= 0:
            yield self._descriptor
        else:
            with entered(self.path) as folder:
                yield folder

    def read(self, name: str, most: int = MOST) -> bytes:
        """What is in a file of it, up to so many bytes."""
        with self.entered() as inside:
            file = opened(name, inside)
        try:
            return os.read(file, most)
        finally:
            os.close(file)

    def write(self, name: str, data: bytes) -> None:
        """Write a file of it that is there whole or not at all. What stood under its name is replaced, and not
        followed."""
        with self.entered() as inside:
            _fill(kept(name), inside, data)
            os.rename(kept(name), name, src_dir_fd=inside, dst_dir_fd=inside)

    def keep(self, name: str, data: bytes) -> None:
        """Do all of `write` but its last step: the file is not there yet, and what it would say is in `kept(name)`."""
        with self.entered() as inside:
            _fill(kept(name), inside, data)


def opened(name: str, folder: int, flags: int = os.O_RDONLY) -> int:
    """A plain file of the folder that has no other name. New ones are their user's alone."""
    file = os.open(name, flags | _PLAIN, 0o600, dir_fd=folder)
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return file
    os.close(file)
    raise OSError(errno.EINVAL, "is no plain file", name)


def read(path: str, most: int = MOST) -> bytes:
    """What `Folder.read` says of the file at a path."""
    folder, name = os.path.split(path)
    return Folder(folder).read(name, most)


def write(path: str, data: bytes) -> None:
    """Do what `Folder.write` does, by the file's path."""
    folder, name = os.path.split(path)
    Folder(folder).write(name, data)


def kept(path: str) -> str:
    """Where a file is written before it is there under its own name."""
    return f"{path}.new"


def take_room(path: str, size: int) -> None:
    """Have room on the disk for so many bytes of the file: `write` succeeds though the disk is full by then.

    Raises OSError when there is no room. A file system that can't promise it makes no error.
    """
    folder, name = os.path.split(path)
    with entered(folder) as inside:
        file = os.open(kept(name), _NEW, 0o600, dir_fd=inside)
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                os.unlink(kept(name), dir_fd=inside)
                raise
        finally:
            os.close(file)


def _fill(name: str, folder: int, data: bytes) -> None:
    """What the file had is overwritten and then cut: emptied first, it would lose the room that was taken for it."""
    file = _scratch(name, folder)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.ftruncate(file, len(data))
    finally:
        os.close(file)


def _scratch(name: str, folder: int) -> int:
    """A file to write to: one that was made ahead, or a new one."""
    try:
        return opened(name, folder, os.O_WRONLY)
    except FileNotFoundError:
        pass
    except OSError:
        os.unlink(name, dir_fd=folder)  # what a task has put there
    return os.open(name, _NEW, 0o600, dir_fd=folder)
