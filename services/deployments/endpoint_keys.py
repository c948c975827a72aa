"""Keys of a deployment's endpoints: who may have one, until when, and what routers check them by. Pure.

1. `IssueEndpointKey` ─► `EndpointKeyIssued`, with the public key of the platform's issuer at that time. The table of
   routers has each public key as long as a key that it checks is good.
2. `RevokeEndpointKey`, or the end of the deployment ─► `EndpointKeyRevoked`. The table names the key until it would
   have expired.
3. What has expired is forgotten: routers refuse it by its own word.

A deployment's id follows from its name, so a later deployment of the name has the same one. No key outlives its
deployment: a token that is still about must not open the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from events.language.base import Event
from events.language.common import ErrorCode, refused
from events.language.deployments.events import DeploymentEvent
from events.language.deployments.keys import (
    EndpointKeyEvent,
    EndpointKeyIssued,
    EndpointKeyRevoked,
    IssueEndpointKey,
    RevokeEndpointKey,
)
from events.language.deployments.models import DeploymentSpec
from events.language.deployments.routing import EndpointKeys, KeyIssuer, PublicKey
from events.log.ids import derived_id
from events.writer.decider import DecisionContext
from services.deployments.state import Deployment, Key

ISSUER = "forgelog"
"""``iss`` of the tokens."""

MAX_KEYS = 1_000
"""Most keys of a deployment that have not expired, revoked ones included: each may stand in the routers' table."""

MAX_ISSUERS = 16
"""Most public keys in a table."""

LEEWAY = timedelta(seconds=60)
"""How long after its end a key is kept: routers' clocks differ, and they let some seconds pass."""


def key_id(deployment_id: str, command_id: str) -> str:
    """The id of the key that a command with this `ce_id` makes."""
    return derived_id("key-", f"{deployment_id}/{command_id}")


def issued(
    state: Deployment, command: IssueEndpointKey, context: DecisionContext, public_key: PublicKey
) -> Sequence[DeploymentEvent]:
    """The key that is asked for. Raises Refused."""
    assert state.spec is not None
    id = command.deployment_id
    names = endpoint_names(state.spec)
    if unknown := [name for name in command.endpoints if name not in names]:
        problem = f"deployment {id} has no endpoint {unknown[0]}"
        raise refused(ErrorCode.NOT_FOUND, "endpoints", problem, f"its endpoints are {', '.join(names)}")
    if sum(context.now < key.expires_at for key in state.keys.values()) >= MAX_KEYS:
        problem = f"deployment {id} has {MAX_KEYS} keys that have not expired, and no more are kept"
        hint = "use one of them, or wait until some expire: a shorter time to live leaves room sooner"
        raise refused(ErrorCode.RESOURCE_EXHAUSTED, "deployment_id", problem, hint)
    signers = {key.public_key for key in state.keys.values() if _good(key, context.now)} | {public_key}
    if len(signers) > MAX_ISSUERS:
        problem = f"the keys of deployment {id} are signed by {MAX_ISSUERS} keys of the platform, and this is another"
        raise refused(ErrorCode.RESOURCE_EXHAUSTED, "deployment_id", problem, "revoke those of earlier ones")
    until = context.now.replace(microsecond=0) + timedelta(seconds=command.ttl_seconds)
    return [
        EndpointKeyIssued(
            deployment_id=id,
            key_id=key_id(id, context.id),
            name=command.name,
            endpoints=command.endpoints,
            expires_at=until,
            issuer=ISSUER,
            public_key=public_key,
        )
    ]


def revoked(state: Deployment, command: RevokeEndpointKey, now: datetime) -> Sequence[DeploymentEvent]:
    """The end of a key. Raises Refused for one that there is not, or that has expired."""
    id, key = command.deployment_id, state.keys.get(command.key_id)
    if key is None or now >= key.expires_at:
        problem = f"deployment {id} has no key {command.key_id}, or it has expired"
        raise refused(ErrorCode.NOT_FOUND, "key_id", problem, f"forgelog keys ls {id} shows those that it has")
    if key.revoked:
        return []
    return [EndpointKeyRevoked(deployment_id=id, key_id=command.key_id, reason=command.reason)]


def ended(state: Deployment, id: str, now: datetime) -> list[DeploymentEvent]:
    """The end of all keys, with their deployment's."""
    good = [name for name, key in state.keys.items() if _good(key, now)]
    return [EndpointKeyRevoked(deployment_id=id, key_id=name, reason="its deployment ends") for name in good]


def evolve(state: Deployment, event: Event, time: datetime) -> None:
    """The keys after an event: those that it is about, without those that have expired."""
    if isinstance(event, EndpointKeyIssued):
        state.keys[event.key_id] = Key(event.expires_at, event.issuer, event.public_key)
    elif isinstance(event, EndpointKeyRevoked) and event.key_id in state.keys:
        state.keys[event.key_id].revoked = True
    if any(_forgotten(key, time) for key in state.keys.values()):
        state.keys = {name: key for name, key in state.keys.items() if not _forgotten(key, time)}


def table(state: Deployment, now: datetime) -> EndpointKeys:
    """What routers check keys by."""
    good = [key for key in state.keys.values() if not key.revoked and not _forgotten(key, now)]
    signers = tuple(dict.fromkeys(key.public_key for key in good))
    gone = tuple(name for name, key in state.keys.items() if key.revoked and not _forgotten(key, now))
    issuer = KeyIssuer(issuer=good[-1].issuer, public_keys=signers) if good else None
    return EndpointKeys(issuer=issuer, revoked=gone)


def due(state: Deployment) -> Iterator[datetime]:
    """When the table changes although nothing has happened: a revoked key is forgotten, or a public key has checked
    its last one."""
    last: dict[PublicKey, datetime] = {}
    for key in state.keys.values():
        if key.revoked:
            yield key.expires_at + LEEWAY
        else:
            last[key.public_key] = max(key.expires_at, last.get(key.public_key, key.expires_at))
    for end in last.values():
        yield end + LEEWAY


def endpoint_names(spec: DeploymentSpec) -> tuple[str, ...]:
    """How a deployment's endpoints are called."""
    return tuple(each.name for each in spec.endpoints) or tuple(each.value for each in spec.endpoint_types())


def _good(key: Key, now: datetime) -> bool:
    return not key.revoked and now < key.expires_at


def _forgotten(key: Key, now: datetime) -> bool:
    return now >= key.expires_at + LEEWAY


COMMANDS = (IssueEndpointKey, RevokeEndpointKey)
EVENTS: tuple[type[EndpointKeyEvent], ...] = (EndpointKeyIssued, EndpointKeyRevoked)
