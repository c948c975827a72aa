"""Folders of the node's file system.

Only this user can read what is written. A file gets its name when all of its bytes are on the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from forgelog.pipelines.io.folders import Entry
from forgelog.pipelines.problems import StageError

LONGEST_WAIT = 60.0
"""Seconds that a publication waits for another one of the same folder."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalFolder:
    """See `forgelog.pipelines.io.folders`."""

    def __init__(self, url: str, field: str) -> None:
        self.url = url
        self.path = Path(url)
        self._field = field

    def walk(self, below: str = "") -> Iterator[Entry]:
        with self.explained("list"):
            yield from self._below(self.path / below, below.strip("/"))

    def _below(self, folder: Path, prefix: str) -> Iterator[Entry]:
        try:
            found = sorted(os.scandir(folder), key=lambda each: each.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for each in found:
            name = f"{prefix}/{each.name}" if prefix else each.name
            try:
                if each.is_dir(follow_symlinks=False):
                    yield from self._below(folder / each.name, name)
                elif each.is_file():
                    yield _entry(name, each.stat())
            except FileNotFoundError:
                continue  # it was removed meanwhile

    def head(self, name: str) -> Entry | None:
        with self.explained("look for a file in"):
            try:
                status = (self.path / name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return None if (self.path / name).is_dir() else _entry(name, status)

    def read(self, name: str) -> bytes | None:
        with self.explained("read a file of"):
            try:
                return (self.path / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read_range(self, name: str, start: int, end: int) -> bytes:
        with self.explained("read a file of"), (self.path / name).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def create(self, name: str, data: bytes) -> bool:
        target = self.path / name
        with self.explained("write a file to"):
            make_folder(target.parent)
            unfinished = target.with_name(f".{target.name}.{os.getpid()}.{time.monotonic_ns()}")
            try:
                _write(unfinished, data)
                try:
                    os.link(unfinished, target)
                except FileExistsError:
                    return False
            finally:
                unfinished.unlink(missing_ok=True)
            sync(target.parent)
            return True

    def upload(self, source: Path, name: str) -> None:
        target = self.path / name
        with self.explained("write a file to"):
            make_folder(target.parent)
            unfinished = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                try:
                    os.rename(source, unfinished)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    shutil.copyfile(source, unfinished)
                _keep(unfinished)
                os.rename(unfinished, target)
            finally:
                unfinished.unlink(missing_ok=True)
            sync(target.parent)

    def move(self, name: str, to: str) -> None:
        target = self.path / to
        with self.explained("move a file of"):
            make_folder(target.parent)
            try:
                os.rename(self.path / name, target)
            except FileNotFoundError:
                if not target.exists():
                    raise
                return  # moved before
            sync(target.parent)

    def remove(self, names: Iterable[str]) -> None:
        with self.explained("remove a file from"):
            for name in names:
                path = self.path / name
                try:
                    path.unlink()
                except (FileNotFoundError, NotADirectoryError):
                    continue
                self._prune(path.parent)

    def _prune(self, folder: Path) -> None:
        """Folders that have become empty go too: they are partitions that have no rows any more."""
        while folder != self.path and self.path in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return  # it has other files
            folder = folder.parent

    def remove_folder(self, name: str) -> None:
        with self.explained("remove a folder from"):
            try:
                shutil.rmtree(self.path / name)
            except (FileNotFoundError, NotADirectoryError):
                return

    @contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """Translates errors of the system."""
        try:
            yield
        except OSError as error:
            where = f"can't {doing} {self.url}: {(os.strerror(error.errno) if error.errno else str(error)).lower()}"
            if error.errno in _FULL:
                raise StageError(self._field, where, "make room there, and run the stage again") from None
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise StageError(self._field, where, "give the worker's user the right to it") from None
            raise StageError(self._field, where, "check the path", transient=error.errno == errno.EIO) from None


@contextmanager
def locked(folder: Path, field: str) -> Iterator[None]:
    """Holds a folder against other publications, of this node and of all that mount it. It ends with the process."""
    make_folder(folder)
    opened = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + LONGEST_WAIT
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    problem = f"another process has been publishing there for {LONGEST_WAIT:.0f} seconds"
                    remedy = f"see who holds {folder}/lock; it may be a worker that was stopped"
                    raise StageError(field, problem, remedy, transient=True) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(opened)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, for this user alone, and on the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    sync(folder.parent)


def sync(folder: Path) -> None:
    """What names a folder has is on the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _write(path: Path, data: bytes) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(opened, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _keep(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(opened, 0o600)
        os.fsync(opened)
    finally:
        os.close(opened)


def _entry(name: str, status: os.stat_result) -> Entry:
    return Entry(name, status.st_size, f"{status.st_mtime_ns:x}-{status.st_ino:x}", status.st_mtime)
