"""What the platform's processes write is their user's alone, whatever umask they were started with.

One umask does it for every file of theirs, and of the broker and the database that they start. Tasks are other people's
programs and keep the umask that the user had: it travels in the environment to the agents.
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
