"""Folders in which a process writes meanwhile: copied, and removed."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


def copy_in_use(folder: Path, copy: Path) -> None:
    """What is gone before it could be copied (a file that takes another's place, say) is not in the copy."""
    try:
        shutil.copytree(folder, copy)
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
