"""The table of endpoint keys, and how events change it. Pure folds. No token is in it."""

from __future__ import annotations

from collections.abc import Iterable

from events.language.deployments.events import DeploymentEvent
from events.language.deployments.keys import EndpointKey, EndpointKeyEvent, EndpointKeyIssued, EndpointKeyRevoked
from events.log.envelope import Recorded
from events.projections.projection import Key, Rows, Table
from events.projections.row_models import table_of

ENDPOINT_KEYS = table_of(
    EndpointKey,
    "endpoint_keys",
    key=("deployment_id", "key_id"),
    indexes=("issued_at desc, deployment_id desc, key_id desc",),
    born="issued_at",
)


def touched(event: DeploymentEvent) -> Iterable[tuple[Table, Key]]:
    """The rows that an event reads or writes."""
    if isinstance(event, EndpointKeyEvent):
        yield ENDPOINT_KEYS, (event.deployment_id, event.key_id)


def put(recorded: Recorded, event: DeploymentEvent, rows: Rows, project: str) -> None:
    """Write what an event changes."""
    meta = recorded.meta
    match event:
        case EndpointKeyIssued():
            row = ENDPOINT_KEYS.first(
                deployment_id=event.deployment_id,
                key_id=event.key_id,
                project=project,
                name=event.name,
                endpoints=list(event.endpoints),
                issued_by=meta.actor,
                issued_at=meta.time,
                expires_at=event.expires_at,
                issuer=event.issuer,
                public_key_id=event.public_key.key_id,
            )
            rows.put(ENDPOINT_KEYS, row)
        case EndpointKeyRevoked():
            before = rows.get(ENDPOINT_KEYS, (event.deployment_id, event.key_id))
            assert before is not None, "the decider revokes what it has issued"
            said = {"revoked_at": meta.time, "revoked_by": meta.actor, "reason": event.reason}
            rows.put(ENDPOINT_KEYS, {**before, **said})
