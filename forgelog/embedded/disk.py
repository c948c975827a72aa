"""Whether the platform's disk has room for the broker to go on.

A broker on a full disk does worse than to stop. It maps its index files, which take room only once they are written to;
when there is none, the JVM gets SIGBUS in the middle of an append (``InternalError: a fault occurred in a recent unsafe
memory access operation``), after the records were written and before the log's end moved on. The producer is told
that it failed, and the next append goes to the same offset: the log then holds two batches of one offset. So the
broker is killed while there still is room, and held until there is more: nothing that it acknowledged is lost, and
no offset is given twice.
"""

from __future__ import annotations

import os
from pathlib import Path

_AGAIN = 1.25
"""Times the reserve that must be free before the broker starts again, or it would come and go."""

MIB = 1 << 20


class Room:
    """The free room of a file system, against a reserve of so many bytes; a reserve of 0 is never short."""

    def __init__(self, folder: Path, reserve: int) -> None:
        self._folder = folder
        self._reserve = reserve
        self._short = False

    def look(self) -> str:
        """What is wrong, for people; empty while there is room."""
        return self.judge(free(self._folder))

    def judge(self, left: int) -> str:
        """`look` at a file system with so many bytes left."""
        wanted = int(self._reserve * _AGAIN) if self._short else self._reserve
        self._short = left < wanted
        if not self._short:
            return ""
        again, reserve = int(self._reserve * _AGAIN) // MIB, self._reserve // MIB
        return (
            f"the disk of {self._folder} has {left // MIB:,} MiB left; the broker is held to protect the log, "
            f"until {again:,} MiB are free (FORGELOG_DISK_RESERVE_MB={reserve})"
        )


def free(folder: Path) -> int:
    """Bytes that processes without privileges may still write to the folder's file system."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
