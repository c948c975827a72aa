"""This machine's name, as names of the platform have it, and the names by which its own programs call it."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterable

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""As an HTTP authority has them."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
"""``host`` or ``host:port``; the host is its first group."""

_ANY = ("0.0.0.0", "[::]")
"""Where a server listens for all addresses; nobody is called so."""


def bracketed(host: str) -> str:
    """A host as an HTTP authority has it."""
    return f"[{host}]" if ":" in host else host


def called(host: str, named: Iterable[str]) -> tuple[str, ...]:
    """By which names a server may be called that listens at `host`, lower-case, each once: the loopback names, that
    host, and those that it was given."""
    every = (*LOOPBACK, bracketed(host), *named)
    return tuple(dict.fromkeys(name.lower() for name in every if name not in _ANY))


def is_called(authority: str, names: Collection[str]) -> bool:
    """Whether a ``host`` or ``host:port``, with any port, is one of these names, which are lower-case."""
    match = _AUTHORITY.fullmatch(authority)
    return match is not None and match[1].lower() in names


def local_only(host: str) -> bool:
    """Whether a server that listens at `host` is reached from this machine only."""
    return bracketed(host) in LOOPBACK or host.startswith("127.")


def plain_hostname(otherwise: str) -> str:
    """Lower-case letters, digits, '.' and '-' only. `otherwise`: where nothing is left of it."""
    return re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.") or otherwise
