"""Keys by which replicas of deployments know the platform's routers: one for each deployment.

They follow from one secret, a file that routers and node agents read (``keys/replicas.key`` of the data folder, or
FORGELOG_REPLICAS_KEY_FILE). The service of deployments, or a router, makes it. An agent makes none: on a machine of its
own that would be another one. A router adds a deployment's key to what it passes on; a node's agent puts it into the
environment of the deployment's replicas. So a replica knows its own deployment's key and none of another one. No event,
table, argument or log has any.
"""

from __future__ import annotations

import base64
import hmac
from pathlib import Path

from events.process.keys import REPLICAS, KeyFileProblem, ensure_key, key_path, read_key
from events.process.settings import Settings, SettingsError

HEADER = "x-forgelog-replica-key"
"""Of HTTP, and as metadata of gRPC. Routers take it out of what clients send, as all of the platform's own."""

AGENT_HEADER = "x-forgelog-agent-key"
"""With the same key, where a node's agent asks what routers' clients may not: routers take this out too, and send
none."""

VARIABLE = "FORGELOG_REPLICA_KEY"
"""In a replica's environment."""


def replicas_key(settings: Settings, *, make: bool = True) -> bytes:
    """The secret that all these keys follow from. `make`: whether it is made if it is not there. Raises
    SettingsError."""
    path: Path = settings.replicas_key_file or key_path(settings.data, REPLICAS)
    try:
        return (ensure_key(path) if make else read_key(path)).encode()
    except KeyFileProblem as problem:
        raise SettingsError(
            f"{problem} (the file is named by FORGELOG_REPLICAS_KEY_FILE, or in FORGELOG_DATA)"
        ) from None


def replica_key(secret: bytes, deployment_id: str) -> str:
    """The key of a deployment's replicas: HMAC-SHA256 (RFC 2104) of its id, in base64url."""
    digest = hmac.digest(secret, deployment_id.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
