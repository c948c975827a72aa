"""Which replicas a deployment is to have: those that are ordered, drained and released now. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from events.language.deployments.enums import ReplicaStatus, RolloutStrategy
from events.language.deployments.events import (
    DeploymentEvent,
    ReplicaDraining,
    ReplicaReleased,
    ReplicaRequested,
)
from events.language.deployments.routing import WHOLE
from events.writer.slices import within_append
from services.deployments import launching
from services.deployments.state import Deployment, Replica

ALL_REPORT_SECONDS = 5.0
"""Seconds of reports in which every router is heard of."""


def planned(state: Deployment) -> dict[int, int]:
    """Revision → how many replicas of it there are to be."""
    wanted, rollout = state.wanted, state.rollout
    if state.terminating:
        return {}
    if rollout is None:
        return {state.stable: wanted} if state.stable else {}
    new, old = rollout.revision, rollout.from_revision
    match rollout.strategy:
        case RolloutStrategy.BLUE_GREEN:
            plan = {new: wanted, old: wanted}
        case RolloutStrategy.CANARY if rollout.weight < WHOLE:
            part = max(share(wanted, rollout.weight), min(wanted, 1))  # rules and the shadow need one, too
            plan = {new: part, old: min(wanted, wanted + _surge(state) - part)}
        case RolloutStrategy.ROLLING if rollout.paused:
            have = min(wanted, sum(1 for _ in state.live(new)))
            plan = {new: have, old: wanted - have}
        case _:
            plan = {new: wanted, old: 0}
    if not old:
        del plan[old]
    return plan


def share(wanted: int, weight: int) -> int:
    """How many of the wanted replicas a share of requests needs, in basis points."""
    return -(-wanted * weight // WHOLE)


def _surge(state: Deployment) -> int:
    """How many more than wanted there may be."""
    assert state.spec is not None
    if state.rollout is not None and state.rollout.strategy is RolloutStrategy.BLUE_GREEN:
        return state.wanted
    return state.spec.rollout.max_surge


def changed(state: Deployment, id: str, project: str, now: datetime) -> list[DeploymentEvent]:
    """What is done about them now: what goes first, then what comes."""
    return [*_released(state, id, now)] or [*_drained(state, id, now)] or [*_ordered(state, id, project, now)]


def due(state: Deployment) -> Iterator[datetime]:
    """When there is something to do although nothing has happened."""
    for replica in state.replicas.values():
        if replica.status is ReplicaStatus.DRAINING and replica.until is not None:
            yield replica.until
    if state.retry_at is not None and any(_missing(state)):
        yield state.retry_at


def _released(state: Deployment, id: str, now: datetime) -> Iterator[ReplicaReleased]:
    for number, replica in state.replicas.items():
        if replica.status is not ReplicaStatus.DRAINING or replica.until is None:
            continue
        if replica.until <= now or _at_rest(state, replica, now):
            yield ReplicaReleased(deployment_id=id, replica=number, job_id=replica.job_id)


def _at_rest(state: Deployment, replica: Replica, now: datetime) -> bool:
    """Whether every router that reports works by the newest table, which lacks the replica, and has no request there.
    Routers report each second: after some seconds of reports all of them are known."""
    table, watch = state.table, state.load.watch
    if table is None or watch.watched_seconds(now.timestamp()) < ALL_REPORT_SECONDS:
        return False
    if any(each.replica_id == replica.job_id for revision in table.revisions for each in revision.replicas):
        return False
    numbers = watch.routings()
    return bool(numbers) and min(numbers) >= table.number and not watch.in_flight_at(replica.job_id)


def _drained(state: Deployment, id: str, now: datetime) -> Iterator[ReplicaDraining]:
    """Those that are too many: first what is not ready, then of the ready ones as many as others make up for."""
    assert state.spec is not None
    plan = planned(state)
    spare = state.ready() - (state.wanted - state.spec.rollout.max_unavailable) if plan else len(state.replicas)
    for revision in sorted({replica.revision for _, replica in state.live()}):
        of_it = sorted(state.live(revision), key=_goes_first)
        for number, replica in of_it[: max(0, len(of_it) - plan.get(revision, 0))]:
            if replica.status is ReplicaStatus.READY:
                if spare <= 0:
                    break
                spare -= 1
            wait = state.spec.drain_seconds if replica.served else 0.0
            yield ReplicaDraining(
                deployment_id=id, replica=number, reason=_reason(state, revision), until=now + timedelta(seconds=wait)
            )


def _goes_first(numbered: tuple[int, Replica]) -> tuple[bool, int]:
    number, replica = numbered
    return replica.status is ReplicaStatus.READY, -number


def _reason(state: Deployment, revision: int) -> str:
    if state.terminating:
        return "its deployment is terminated"
    if revision == state.stable and state.rollout is None:
        return f"{state.wanted} are wanted"
    return f"revision {state.rollout.revision if state.rollout is not None else state.stable} takes its place"


def _missing(state: Deployment) -> Iterator[tuple[int, int]]:
    """Revision and number of the replicas to order, within what there may be in all."""
    if state.terminating or state.spec is None:
        return
    room = state.wanted + _surge(state)
    room -= sum(replica.status is not ReplicaStatus.RELEASED for replica in state.replicas.values())
    number = state.last_replica
    for revision, count in planned(state).items():
        for _ in range(min(room, count - sum(1 for _ in state.live(revision)))):
            room, number = room - 1, number + 1
            yield revision, number


def _ordered(state: Deployment, id: str, project: str, now: datetime) -> Iterator[ReplicaRequested]:
    """As many as one append takes; the others follow at once."""
    if state.retry_at is not None and now < state.retry_at:
        return
    missing = _missing(state)
    yield from within_append(launching.requested(state, id, project, revision, number) for revision, number in missing)
