"""Whether a note of processes was written in the folder that it lies in, or the folder is a copy of that one.

What a copy says of processes is true of its original, which may be at work: a backup that is restored beside it, for
example. A folder that was moved on its disk is the same one. Must not know what a note says else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def place_of(folder: Path) -> dict[str, int]:
    """To be kept in the note. Raises OSError when there is no such folder."""
    found = os.stat(folder)
    return {"device": found.st_dev, "inode": found.st_ino}


def is_copied(place: Mapping[str, Any], folder: Path) -> bool:
    """Whether a note that says this place, and lies in the folder now, was written in another one."""
    return any(place.get(name) != value for name, value in place_of(folder).items())
