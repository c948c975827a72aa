"""What routers are told of a deployment: the table follows from the replicas that are ready. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.enums import DeploymentStatus, ReplicaStatus, RolloutStrategy
from events.language.deployments.events import DeploymentEvent, RoutingChanged
from events.language.deployments.models import DeploymentSpec
from events.language.deployments.routing import (
    WHOLE,
    RoutedEndpoint,
    RoutedReplica,
    RoutedRevision,
    RoutingTable,
)
from services.deployments import endpoint_keys, replicas
from services.deployments.state import Deployment, Replica

_GRPC_PORT = "grpc"


def changed(state: Deployment, id: str, now: datetime) -> list[DeploymentEvent]:
    """A new table, if there is something new to tell."""
    last = state.table
    told = _told(state, id, now)
    if last is not None and all(getattr(last, name) == value for name, value in told.items()):
        return []
    return [RoutingChanged(deployment_id=id, table=RoutingTable(number=1 if last is None else last.number + 1, **told))]


def _told(state: Deployment, id: str, now: datetime) -> dict[str, Any]:
    """The fields of the table but its number. What the last table has already is taken from there: this is asked with
    each report, and replicas are many."""
    spec = state.spec
    assert spec is not None
    assert state.created_at is not None
    routed = _routed(state) or _awaited(state)
    shares = weights(state, {revision: len(found) for revision, found in routed.items() if found})
    if not shares:
        shares = dict.fromkeys(routed, WHOLE)  # requests wait for it
    named = [*dict.fromkeys((*shares, *replicas.planned(state)))]
    policy = spec.routing
    before = {} if state.table is None else {each.revision: each for each in state.table.revisions}
    return {
        "deployment_id": id,
        "project": state.project,
        "name": state.name,
        "created_at": state.created_at,
        "revisions": tuple(
            _revision(state, each, shares.get(each, 0), tuple(routed[each]), before.get(each))
            for each in sorted(named)
            if each in routed
        ),
        "endpoints": ()
        if state.terminating
        else _endpoints(spec, [each for found in routed.values() for each in found]),
        "session": policy.session,
        "replica_affinity": policy.replica_affinity,
        "balancing": policy.balancing,
        "rules": () if state.terminating else state.rules.rules,
        "shadow": None if state.terminating else state.rules.shadow,
        "retries": policy.retries,
        "concurrency": policy.concurrency,
        # Of what has failed no replica is expected, so nobody is to wait for one.
        "cold_start_seconds": 0.0 if state.status is DeploymentStatus.FAILED else policy.cold_start_seconds,
        "keys": endpoint_keys.table(state, now),
        "observability": spec.observability,
        "terminated": state.terminating,
    }


def _routed(state: Deployment) -> dict[int, list[RoutedReplica]]:
    """Revision → its replicas that can be reached, in their order."""
    found: dict[int, list[RoutedReplica]] = {}
    if state.terminating:
        return found
    revisions = () if state.table is None else state.table.revisions
    known = {each.replica_id: each for revision in revisions for each in revision.replicas}
    for number in sorted(state.replicas):
        replica = state.replicas[number]
        if replica.status is ReplicaStatus.READY:
            before = known.get(replica.job_id)
            same = before is not None and (before.address, before.ports) == (replica.address, replica.ports)
            found.setdefault(replica.revision, []).append(before if before is not None and same else _of(replica))
    return found


def _awaited(state: Deployment) -> dict[int, list[RoutedReplica]]:
    """The revision whose replica requests wait for where none is ready: routers tell it by its model's name, also those
    requests that come before it."""
    planned = replicas.planned(state)
    number = state.stable if state.stable in planned else next(iter(planned), 0)
    return {number: []} if number else {}


def _of(replica: Replica) -> RoutedReplica:
    return RoutedReplica(replica_id=replica.job_id, address=replica.address, ports=replica.ports)


def unreachable(replica: Replica) -> str:
    """Why routers can't reach a replica; empty if they can."""
    try:
        _of(replica)
    except ValidationError:
        where = f"the address {replica.address}" if replica.address else "no address"
        return f"routers can't reach it: its node has {where}; give the node an IP address"
    return ""


def _revision(
    state: Deployment, number: int, weight: int, ready: tuple[RoutedReplica, ...], before: RoutedRevision | None
) -> RoutedRevision:
    if before is not None and (before.weight, before.replicas) == (weight, ready):
        return before  # what a revision serves never changes
    model = state.revisions[number].model
    return RoutedRevision(
        revision=number,
        weight=weight,
        model=state.name if model is None else model.name,
        version=number if model is None else model.number,
        replicas=ready,
    )


def _endpoints(spec: DeploymentSpec, ready: list[RoutedReplica]) -> tuple[RoutedEndpoint, ...]:
    """Those that every ready replica has the port of: replicas of an earlier revision may lack one. A model server's
    requests change nothing, so one may be sent to another replica; of a command nobody knows. The model server's ports
    follow from what is spoken there."""
    endpoints = spec.endpoints or tuple(
        RoutedEndpoint(name=each.value, type=each, replica_port=_port(spec, each), idempotent=not spec.command)
        for each in spec.endpoint_types()
    )
    if not spec.command:
        endpoints = tuple(each.model_copy(update={"replica_port": _port(spec, each.type)}) for each in endpoints)
    return tuple(each for each in endpoints if all(each.replica_port in replica.ports for replica in ready))


def _port(spec: DeploymentSpec, type: EndpointType) -> str:
    """Where a protocol is spoken, if nothing else is said."""
    return _GRPC_PORT if type is EndpointType.GRPC else spec.port_names()[0]


def weights(state: Deployment, ready: Mapping[int, int]) -> dict[int, int]:
    """Revision → its share of requests in basis points; all together are the whole. Only of `ready`, which is how many
    replicas of each can be reached. Empty if there are none."""
    if not ready:
        return {}
    rollout = state.rollout
    if rollout is None:
        return {state.stable: WHOLE} if state.stable in ready else _even(ready)
    new, old = rollout.revision, rollout.from_revision
    if rollout.strategy is RolloutStrategy.ROLLING:
        return _even(ready)
    two = {each: count for each, count in ready.items() if each in (new, old)}
    if len(two) < 2:  # the one that can be reached gets all
        return dict.fromkeys(two, WHOLE) or _even(ready)
    if rollout.strategy is RolloutStrategy.BLUE_GREEN:
        return {new if rollout.weight == WHOLE else old: WHOLE}
    part = min(rollout.weight, WHOLE * ready[new] // max(state.wanted, 1))
    return {new: part, old: WHOLE - part}


def _even(ready: Mapping[int, int]) -> dict[int, int]:
    """By how many replicas each has."""
    total, left = sum(ready.values()), WHOLE
    shares: dict[int, int] = {}
    for revision in sorted(ready):
        shares[revision] = WHOLE * ready[revision] // total
        left -= shares[revision]
    shares[max(ready)] += left
    return shares
