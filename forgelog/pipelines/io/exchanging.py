"""The exchange of a local table's folder with another one, in one step of the file system.

Readers that list the folder see the old files or the new ones. A reader that lists before and opens after it may find a
file gone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from forgelog.pipelines.io.local import LocalFolder, make_folder, sync
from forgelog.pipelines.io.versions import FolderVersion, name_of

_AT_FDCWD = -100
_EXCHANGE = 2
"""renameat2(2): RENAME_EXCHANGE."""


def exchanged(table: Path, aside: Path, names: Sequence[tuple[str, str]], version: FolderVersion, field: str) -> bool:
    """Make `aside` the table's folder and the table's old folder vanish. False: the file system has no exchange.

    The caller has locked the table, and its version is an older one. Repeated after a crash, it goes on. `names` are
    files of `aside` as they are called, and as they are to be.
    """
    if table.exists() and not _can_exchange(str(table.parent)):
        return False
    new = LocalFolder(str(aside), field)
    make_folder(aside)
    for old, final in names:
        new.move(old, final)
    new.create(name_of(version.version), version.to_json())
    if table.exists():
        _exchange(aside, table)
        sync(table.parent)
        sync(aside.parent)
        shutil.rmtree(aside)
    else:
        make_folder(table.parent)
        os.rename(aside, table)
        sync(table.parent)
    return True


@cache
def _can_exchange(folder: str) -> bool:
    first, second = (Path(folder) / f".forgelog.{os.getpid()}.{number}" for number in (1, 2))
    try:
        first.mkdir(0o700)
        second.mkdir(0o700)
        _exchange(first, second)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV):
            return False
        raise
    finally:
        for each in (first, second):
            if each.exists():
                each.rmdir()
    return True


def _exchange(one: Path, other: Path) -> None:
    renameat2 = getattr(_libc(), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    done = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
