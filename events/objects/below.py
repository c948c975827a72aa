"""Opens files in a folder that others may change: each name from its parent folder, without following links. Blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Changed(OSError):
    """A path is not a plain file, or the file changes."""


def open_plain(path: str | Path, folder: int | None = None) -> BinaryIO:
    """A plain file, relative to an open folder if one is given. Raises OSError; Changed if it is not a plain file."""
    opened = os.open(path, FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise Changed("it is not a plain file any more")
    return open(opened, "rb", buffering=0)


@contextmanager
def inside(folder: int, name: str) -> Iterator[int]:
    """A folder of an open folder, open. Raises OSError."""
    opened = os.open(name, FOLDER, dir_fd=folder)
    try:
        yield opened
    finally:
        os.close(opened)


@contextmanager
def entered(folder: Path, path: str, *, make: bool = False, may_be_link: bool = False) -> Iterator[int]:
    """A folder below another, open. `make`: make what is missing. `may_be_link`: the uppermost one. Raises OSError."""
    opened = os.open(folder, FOLDER & ~os.O_NOFOLLOW if may_be_link else FOLDER)
    try:
        for name in filter(None, path.split("/")):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=opened)
            inner = os.open(name, FOLDER, dir_fd=opened)
            os.close(opened)
            opened = inner
        yield opened
    finally:
        os.close(opened)
