"""Folders in which a process writes meanwhile: copied, and removed."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


def _special(folder: str, names: list[str]) -> list[str]:
    """Pipes and sockets, which have no content: tasks may leave them."""
    paths = {name: Path(folder, name) for name in names}
    return [name for name, path in paths.items() if os.path.lexists(path) and not (path.is_file() or path.is_dir())]


def copy_in_use(folder: Path, copy: Path) -> None:
    """What is gone before it could be copied (a file that takes another's place, say) is not in the copy, nor is what
    is no file."""
    try:
        shutil.copytree(folder, copy, ignore=_special)
    except shutil.Error as error:
        left = [failure for failure in error.args[0] if Path(failure[0]).exists()]
        if left:
            raise shutil.Error(left) from None


def remove_in_use(folder: Path) -> None:
    """What is put into a folder while it is emptied is removed too."""
    for _ in range(1_000):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
        if not folder.exists():
            return
    raise OSError(errno.ENOTEMPTY, "it is filled faster than it can be emptied", str(folder))
