"""Who may ask a replica: the platform's routers, which send the key of its deployment with each request.

What tells of a replica's health is open to all: the node's agent asks that, and has no other way to know. A server that
somebody started by hand has no key; if it listens on this machine only, it is asked by this machine's names: a web page
whose own name points here (DNS rebinding) can't but send that one.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any

from events.language.common import shown
from events.process.hostnames import is_called
from events.process.replica_keys import AGENT_HEADER, HEADER
from forgelog.serve.http_answers import Scope, header
from forgelog.serve.problems import Fault, ServingError

OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})
OPEN_METHODS = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})

_HEADER, _AGENT_HEADER = HEADER.encode(), AGENT_HEADER.encode()
_REFUSAL = (
    "this is a replica's own port, and the request does not come from a router of its platform: ask a router (if this "
    "is one's answer, routers and this node's agent have different keys in FORGELOG_REPLICAS_KEY_FILE)"
)


class Callers:
    """Knows routers by the key."""

    def __init__(self, key: str, open_path: str = "", names: Iterable[str] = ()) -> None:
        """`key`: empty if anybody may ask. `open_path`: a path that is open besides those of health. `names`: by which
        the server may be called where there is no key, lower-case; by any if there is none."""
        self._key = key.encode()
        self._names = frozenset(names if not key else ())
        self._open = OPEN_PATHS | {open_path}

    def check(self, scope: Scope) -> None:
        """Raises ServingError for a request or a WebSocket that is not a router's."""
        if self._names:
            self._check_name(scope)
        if self._key and scope["path"] not in self._open:
            self._compare(header(scope, _HEADER))

    def check_header(self, scope: Scope) -> None:
        """The same of a request for a path that is not open."""
        if self._names:
            self._check_name(scope)
        if self._key:
            self._compare(header(scope, _HEADER))

    def is_agent(self, scope: Scope) -> bool:
        """Whether a request comes from the node's agent; anybody's does where there is no key. Raises ServingError as
        `check` does."""
        if self._names:
            self._check_name(scope)
        given = header(scope, _AGENT_HEADER) or ""
        return not self._key or hmac.compare_digest(given.encode("utf-8", "replace"), self._key)

    def check_call(self, method: str, metadata: Iterable[tuple[str, Any]]) -> None:
        """The same for a call of gRPC."""
        if self._key and method not in OPEN_METHODS:
            self._compare(next((value for name, value in metadata if name == HEADER), None))

    def _check_name(self, scope: Scope) -> None:
        """The name by which it is called, and that of the page that asks, if a page does."""
        called, page = header(scope, b"host") or "", header(scope, b"origin") or ""
        for what, given, authority in (("host", called, called), ("origin", page, page.partition("://")[2])):
            if (given or what == "host") and not is_called(authority, self._names):
                raise ServingError(
                    Fault.FORBIDDEN,
                    f"{what}: {shown(given)} is no name of this server; use 127.0.0.1 or localhost, or name it by "
                    "--allow-host when you start it",
                )

    def _compare(self, given: Any) -> None:
        if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), self._key):
            raise ServingError(Fault.FORBIDDEN, _REFUSAL)
