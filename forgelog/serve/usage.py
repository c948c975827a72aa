"""What the process itself uses, for what is told of requests."""

from __future__ import annotations

import time

import psutil

AGE = 0.25
"""Seconds for which a reading counts: it costs more than a small model's answer."""


class Resident:
    """The memory that this process has."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._bytes = 0
        self._read = float("-inf")

    def bytes(self) -> int:
        now = time.monotonic()
        if now - self._read > AGE:
            self._bytes, self._read = int(self._process.memory_info().rss), now
        return self._bytes
