"""What a task says of its own end: a line in the file that ``FORGELOG_EXIT_MESSAGE`` names, as Kubernetes has it with
``terminationMessagePath``. It becomes the message of its `TaskExit`, so it is an event: values of the task's secrets
are taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from events.process import notes
from events.process.exit_message import VARIABLE

FILE = "exit_message"
"""In the task's own folder."""

MOST = 64 << 10
"""Bytes of the file; of a longer one nothing is told, since a secret may be cut at its end."""

_SHORTEST = 4
"""Characters of a secret's line that is taken out by itself."""


def read(folder: str) -> str:
    """What the task has left in its folder, as one line; empty if it left nothing that can be read. What stands there
    may be of a hostile task's making."""
    try:
        data = notes.Folder(folder).read(FILE, MOST)
    except OSError:
        return ""
    if len(data) == MOST:
        return f"what it wrote to {VARIABLE} has {MOST >> 10} KiB or more; write a line"
    return data.decode("utf-8", "replace")


def without(text: str, secrets: Iterable[str]) -> str:
    """One line, without the values of these secrets, wholly or line by line."""
    values = {secret.strip() for secret in secrets}
    lines = {line.strip() for value in values for line in value.splitlines()}
    found = values | {line for line in lines if len(line) >= _SHORTEST}
    for value in sorted(found - {""}, key=len, reverse=True):
        text = text.replace(value, "[redacted]")
    return " ".join(text.split())
