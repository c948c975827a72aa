"""Removes folders that tasks leave: of any depth, with any permissions and any names.

Neither recursion nor a path grows with the depth: each folder that is found is moved up to the folder that is removed,
so that two descriptors are open at a time. Links are removed, never followed. What can't be removed is told and left,
and the rest goes. The processes that used the folder must have ended.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

ALL = stat.S_IRWXU
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHOWN = 200
"""Characters of a name that are told."""


def remove(path: Path | str, *, parent: int | None = None) -> list[str]:
    """Remove a file, a link, or a folder with all that is in it. `parent`: descriptor of a folder where the name
    begins. Returns what stays, each with its reason; an empty list when all is gone. Blocks."""
    try:
        try:
            os.unlink(path, dir_fd=parent)
        except (IsADirectoryError, PermissionError):
            return _removed(path, parent)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [_told(path, error)]
    return []


def _removed(path: Path | str, parent: int | None) -> list[str]:
    top = _opened(os.fspath(path), parent)
    try:
        removal = _Removal(path, top)
        removal.run()
    finally:
        os.close(top)
    if not removal.left:
        os.rmdir(path, dir_fd=parent)
    return list(removal.left.values())


def move(source: Path | str, target: Path | str, into: int | None = None, *, parent: int | None = None) -> None:
    """Rename a folder, also one that its owner has made unwritable. `into` and `parent`: descriptors of folders where
    the names begin. Raises OSError."""
    try:
        os.rename(source, target, src_dir_fd=parent, dst_dir_fd=into)
    except PermissionError:
        _mend(os.fspath(source), parent)
        os.rename(source, target, src_dir_fd=parent, dst_dir_fd=into)


def empty(path: Path | str, spared: Collection[str] = ()) -> dict[str, str]:
    """Remove what is in a folder, those `spared` excepted. Returns what stays, by its name there, each with its reason
    and the entry that it was found in. What comes into the folder meanwhile may stay. Raises OSError where the folder
    can't be entered. Blocks."""
    top = _opened(os.fspath(path))
    try:
        removal = _Removal(path, top)
        removal.clear(entry for entry in _entries(top) if entry[0] not in spared)
        return removal.left
    finally:
        os.close(top)


class _Removal:
    def __init__(self, path: Path | str, top: int) -> None:
        """`top`: the folder, open."""
        self._path = path
        self._top = top
        self.left: dict[str, str] = {}
        """What can't be removed, by its name in the top folder."""
        self._numbers = count()
        self._own = f".removing-{os.urandom(6).hex()}-"
        self._moved: list[tuple[str, str]] = []
        """Folders that were moved up and are still to be removed, each with the name that is told of it."""

    def run(self) -> None:
        """Remove all that is in the folder, also what comes into it meanwhile."""
        while names := [entry for entry in _entries(self._top) if entry[0] not in self.left]:
            self.clear(names)

    def clear(self, names: Iterable[tuple[str, bool]]) -> None:
        """Remove these of the top folder, and all that is in them."""
        for name, is_folder in names:
            self._try(name, is_folder, name, name)
            while self._moved:
                inner, shown = self._moved.pop()
                self._try(inner, True, shown, name)

    def _try(self, name: str, is_folder: bool, shown: str, entry: str) -> None:
        """`shown`: the name that is told. `entry`: what it was found in, of the top folder."""
        try:
            if is_folder:
                self._clear(name, entry)
            else:
                os.unlink(name, dir_fd=self._top)
        except FileNotFoundError:
            return
        except OSError as error:
            self.left.setdefault(name, _told(f"{self._path}/{shown}", error))

    def _clear(self, name: str, entry: str) -> None:
        """Empty a folder of the top one and remove it: its files go, its folders move up."""
        fd = _opened(name, self._top)
        try:
            while True:
                entries = _entries(fd)
                for inner, is_folder in entries:
                    if not is_folder:
                        os.unlink(inner, dir_fd=fd)
                    elif not _rmdir(inner, fd):
                        self._move_up(fd, inner, entry)
                if _rmdir(name, self._top):
                    return
                if not entries:
                    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), name)
        finally:
            os.close(fd)

    def _move_up(self, fd: int, name: str, entry: str) -> None:
        target = f"{self._own}{next(self._numbers)}"
        move(name, target, self._top, parent=fd)
        self._moved.append((target, f"{entry}/…/{name}"))


def _rmdir(name: str, parent: int) -> bool:
    """Whether the folder was empty, and is gone."""
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _entries(fd: int) -> list[tuple[str, bool]]:
    """Name and whether it is a folder, of what lies in an open folder."""
    with os.scandir(fd) as found:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]


def _opened(name: str, parent: int | None = None) -> int:
    """An open folder that may be listed and emptied."""
    try:
        fd = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _mend(name, parent)
        return os.open(name, _FOLDER, dir_fd=parent)
    if stat.S_IMODE(os.fstat(fd).st_mode) & ALL != ALL:
        with suppress(PermissionError):  # another user's: what can't be removed from it is told
            os.fchmod(fd, ALL)
    return fd


def _mend(name: str, parent: int | None = None) -> None:
    """Let its owner do everything with a folder. By a descriptor: a name may be a link to somewhere else by now."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{fd}", ALL)
    finally:
        os.close(fd)


def _told(path: Path | str, error: OSError) -> str:
    shown = os.fspath(path).encode("utf-8", "replace").decode()
    return f"{shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}: {error.strerror}"
