"""Who may ask a replica: the platform's routers, which send the key of its deployment with each request.

What tells of a replica's health is open to all: the node's agent asks that, and has no other way to know.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any

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

    def __init__(self, key: str, open_path: str = "") -> None:
        """`key`: empty if anybody may ask. `open_path`: a path that is open besides those of health."""
        self._key = key.encode()
        self._open = OPEN_PATHS | {open_path}

    def check(self, scope: Scope) -> None:
        """Raises ServingError for a request or a WebSocket that is not a router's."""
        if self._key and scope["path"] not in self._open:
            self._compare(header(scope, _HEADER))

    def check_header(self, scope: Scope) -> None:
        """The same of a request for a path that is not open."""
        if self._key:
            self._compare(header(scope, _HEADER))

    def is_agent(self, scope: Scope) -> bool:
        """Whether a request comes from the node's agent; anybody's does where there is no key."""
        given = header(scope, _AGENT_HEADER) or ""
        return not self._key or hmac.compare_digest(given.encode("utf-8", "replace"), self._key)

    def check_call(self, method: str, metadata: Iterable[tuple[str, Any]]) -> None:
        """The same for a call of gRPC."""
        if self._key and method not in OPEN_METHODS:
            self._compare(next((value for name, value in metadata if name == HEADER), None))

    def _compare(self, given: Any) -> None:
        if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), self._key):
            raise ServingError(Fault.FORBIDDEN, _REFUSAL)
