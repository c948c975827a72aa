"""Endpoint keys: what opens those endpoints of a deployment that ask for a key.

A key is a token that the platform signs (EdDSA, RFC 8037). No message holds a token: it is signed once, for who issued
it, from what is told here. Routers check it by the issuer's public key. See `services.deployments.endpoint_keys`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from events.language.base import Model
from events.language.common import DisplayName, Identifier, ProjectName, Timestamp
from events.language.deployments.commands import OfDeployment
from events.language.deployments.events import DeploymentEvent
from events.language.deployments.models import Reason
from events.language.deployments.routing import EndpointName, IssuerName, KeyId, PublicKey

LEAST_TTL_SECONDS = 60
MOST_TTL_SECONDS = 366 * 86_400
DEFAULT_TTL_SECONDS = 30 * 86_400

KeyEndpoints = Annotated[tuple[EndpointName, ...], Field(max_length=16)]
"""Names of the endpoints that a key opens; empty: all of the deployment's."""


class IssueEndpointKey(OfDeployment):
    """Make a key that opens a deployment's endpoints until it expires or is revoked. Its token is then asked for once,
    within five minutes, by who sent this."""

    name: DisplayName
    """Whom or what it is for, as people call it."""
    ttl_seconds: Annotated[int, Field(ge=LEAST_TTL_SECONDS, le=MOST_TTL_SECONDS)] = DEFAULT_TTL_SECONDS
    """How long it opens."""
    endpoints: KeyEndpoints = ()

    @model_validator(mode="after")
    def _different(self) -> IssueEndpointKey:
        if len(set(self.endpoints)) < len(self.endpoints):
            raise ValueError("endpoints has a name twice; give each once")
        return self


class RevokeEndpointKey(OfDeployment):
    """Let a key open nothing any more."""

    key_id: KeyId
    reason: Reason = ""


class EndpointKeyEvent(DeploymentEvent):
    key_id: KeyId
    """``jti`` of its token."""


class EndpointKeyIssued(EndpointKeyEvent):
    """There is such a key from here on."""

    name: DisplayName
    endpoints: KeyEndpoints = ()
    expires_at: Timestamp
    """In whole seconds."""
    issuer: IssuerName
    """Who signs it."""
    public_key: PublicKey
    """By which its signature is checked."""


class EndpointKeyRevoked(EndpointKeyEvent):
    """It opens nothing from here on."""

    reason: Reason = ""


class EndpointKey(Model):
    """A key of a deployment's endpoints, without its token."""

    deployment_id: Identifier
    key_id: KeyId
    project: ProjectName
    name: str
    """Whom or what it is for."""
    endpoints: tuple[str, ...] = ()
    """Those that it opens; all when empty."""
    issued_by: str
    """Who asked for it, and alone may have its token."""
    issued_at: Timestamp
    expires_at: Timestamp
    issuer: str
    """``iss`` of its token."""
    public_key_id: str
    """Which of the issuer's public keys checks it: ``kid`` of its token."""
    revoked_at: Timestamp | None = None
    revoked_by: str = ""
    reason: str = ""
    """Why it was revoked."""
