"""Where a platform's state lies on this machine. Imports nothing heavy: every command of the CLI asks this.

Must not know what is in the folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def data_folder(environment: Mapping[str, str] | None = None, start: Path | None = None) -> Path:
    """The folder that holds a platform's state; see `find_data_folder`."""
    return find_data_folder(environment, start)[0]


def find_data_folder(environment: Mapping[str, str] | None = None, start: Path | None = None) -> tuple[Path, str]:
    """The folder that holds a platform's state, and what named it, in words for an error.

    `FORGELOG_DATA`; else the nearest `.forgelog` folder here or in a folder above (as git finds `.git`: a project can
    have a platform of its own); else `~/.forgelog`, so that a user's commands agree wherever they are typed.

    Root would do what another user's folder says, so it takes one only if that is named, or is of who called sudo.
    """
    environment = os.environ if environment is None else environment
    if given := environment.get("FORGELOG_DATA"):
        return Path(given).expanduser().absolute(), "named by --data or FORGELOG_DATA"
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        found = folder / ".forgelog"
        if found.is_dir() and (os.geteuid() or str(found.stat().st_uid) in ("0", environment.get("SUDO_UID"))):
            return found, "the nearest .forgelog"
    return Path.home() / ".forgelog", "the default"
