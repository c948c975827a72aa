"""Reads what a user names as a file, or gives on standard input, and no more of it than can be meant."""

from __future__ import annotations

import sys
from pathlib import Path

from forgelog.errors import InvalidInput


def read_at_most(file: str | Path, most: int, what: str) -> bytes:
    """All that is in a file; ``-`` is standard input, and a pipe or a device is read too.

    `most`: bytes. `what`: what it should be, in words, as ``a manifest``. Raises InvalidInput for a file that can't be
    read, or that has more (as ``/dev/zero`` has)."""
    name = "standard input" if str(file) == "-" else str(file)
    try:
        if str(file) == "-":
            found = sys.stdin.buffer.read(most + 1)
        else:
            with Path(file).open("rb") as opened:
                found = opened.read(most + 1)
    except OSError as error:
        raise InvalidInput(f"can't read {name}: {error.strerror or error}") from None
    if len(found) > most:
        raise InvalidInput(f"{name} is larger than {most} bytes, which is more than {what} may have")
    return found
