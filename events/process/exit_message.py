"""Where a task of a job says why it ends: its node's agent reads the file, and the log has it with the exit."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "FORGELOG_EXIT_MESSAGE"
"""Names the file."""

EXIT_PERMANENT = 78
"""The exit code of a task that would end alike wherever and whenever it is tried: EX_CONFIG of sysexits.h."""

log = logging.getLogger("forgelog.exit_message")


def leave(message: str, environment: Mapping[str, str] = os.environ) -> None:
    """Say why this process ends; the last word counts. Elsewhere than in a task of a job it says nothing."""
    if not (path := environment.get(VARIABLE)):
        return
    try:
        Path(path).write_text(message, errors="replace")
    except OSError as error:
        log.warning("%s: the reason of the end can't be written: %s", path, error.strerror)
