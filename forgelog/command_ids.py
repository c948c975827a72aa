"""Ids of commands. Imports nothing heavy."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """A fresh command id that sorts by time."""
    return f"{time.time_ns() // 1_000_000:011x}{os.urandom(8).hex()}"
