"""This machine's name, as names of the platform have it, and the names by which its own programs call it."""

from __future__ import annotations

import re
import socket

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""As an HTTP authority has them."""


def plain_hostname(otherwise: str) -> str:
    """Lower-case letters, digits, '.' and '-' only. `otherwise`: where nothing is left of it."""
    return re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.") or otherwise
