"""By which names the gateway may be called. A web page whose own name points to this machine (DNS rebinding) can't but
send that name.
"""

from __future__ import annotations

from collections.abc import Iterable

from events.language.common import shown
from events.process.hostnames import called, is_called
from events.process.settings import Settings

NOT_OURS = "is no name of this gateway"
HINT = "use 127.0.0.1 or localhost, or name it in FORGELOG_GATEWAY_HOSTS"


class Hosts:
    """The names that are taken, lower-case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    @classmethod
    def of(cls, settings: Settings) -> Hosts:
        """The loopback names, the host that the gateway is told to listen on, and those in FORGELOG_GATEWAY_HOSTS."""
        host, _ = settings.gateway_listens
        return cls(called(host, settings.gateway_hosts))

    def problem(self, authority: str) -> str:
        """The problem of a ``host`` or ``host:port``, with any port; empty if it is one of these names."""
        if is_called(authority, self._names):
            return ""
        return f"host: {shown(authority)} {NOT_OURS}; {HINT}"
