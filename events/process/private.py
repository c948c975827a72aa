"""Makes the files of the platform's processes readable for their user only, with any umask at their start.

Each process sets one umask, which the broker and the database inherit. Tasks are other people's programs and keep the
user's umask: the agents get it by an environment variable.
"""

from __future__ import annotations

import os

TASKS_UMASK = "FORGELOG_UMASK"
"""The umask that tasks get, octal digits; set by the first process of a platform, from its own."""

_PRIVATE = 0o077


def keep_private() -> None:
    """From here on, only this user can read what this process and those that it starts write. Called first in each
    program of the platform."""
    before = os.umask(_PRIVATE)
    os.environ.setdefault(TASKS_UMASK, f"{before:04o}")
