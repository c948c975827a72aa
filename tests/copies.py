"""Copies of folders in which a process writes meanwhile."""

from __future__ import annotations

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
