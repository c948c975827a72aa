"""How fast the disk is that tasks' folders lie on, measured past the kernel's cache. An agent does so if it is told to:
it takes seconds of the disk, and writes to it."""

from __future__ import annotations

import logging
import mmap
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger("forgelog.agent.storage_speed")

SIZE = 64 << 20
"""Bytes of the file that is written and read."""
_PIECE = 1 << 20
_PAGE = 4 << 10


class Speed(NamedTuple):
    """What one request after the other comes to, as the fields of a `StorageResource`."""

    read_iops: float
    write_iops: float
    read_bytes_per_second: float
    write_bytes_per_second: float


def measure(folder: Path, seconds: float, size: int = SIZE) -> Speed | None:
    """Takes `seconds`, and what it takes to write `size` bytes. None where files can't be read past the cache, or there
    is no room.

    1. Write the file in pieces of 1 MiB, and have the disk keep it.
    2. Read it in pieces of 1 MiB.
    3. Read, then write, pages of 4 KiB at random.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix=".speed-", dir=folder) as named:
            file = os.open(named.name, os.O_RDWR | os.O_DIRECT)
            try:
                return _measured(file, seconds / 3, size)
            finally:
                os.close(file)
    except OSError as error:
        log.warning("how fast the disk of %s is can't be measured: %s", folder, error.strerror or error)
        return None


def _measured(file: int, seconds: float, size: int) -> Speed:
    with mmap.mmap(-1, _PIECE) as piece:  # whole pages of memory, as reads and writes past the cache need them
        piece.write(os.urandom(_PIECE))
        page = memoryview(piece)[:_PAGE]
        began, pieces = time.perf_counter(), size // _PIECE
        for number in range(pieces):
            os.pwritev(file, [piece], number * _PIECE)
        os.fsync(file)
        written = pieces * _PIECE / (time.perf_counter() - began)
        at = random.Random(0).randrange
        try:
            return Speed(
                read_bytes_per_second=_PIECE
                * _a_second(lambda turn: os.preadv(file, [piece], turn % pieces * _PIECE), seconds),
                write_bytes_per_second=written,
                read_iops=_a_second(lambda _: os.preadv(file, [page], at(size // _PAGE) * _PAGE), seconds),
                write_iops=_a_second(lambda _: os.pwritev(file, [page], at(size // _PAGE) * _PAGE), seconds),
            )
        finally:
            page.release()


def _a_second(do: Callable[[int], object], seconds: float) -> float:
    began, turn = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds or not turn:
        do(turn)
        turn += 1
    return turn / passed
