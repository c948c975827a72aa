"""How its events change a deployment."""

from __future__ import annotations

from datetime import datetime, timedelta

from events.language.base import Event
from events.language.deployments.enums import DeploymentStatus, ReplicaStatus
from events.language.deployments.events import (
    DeploymentCreated,
    DeploymentScaled,
    DeploymentStatusChanged,
    DeploymentUpdated,
    ReplicaDraining,
    ReplicaEnded,
    ReplicaEvent,
    ReplicaReady,
    ReplicaReleased,
    ReplicaRequested,
    ReplicaStarted,
    ReplicaUnready,
    RevisionCreated,
    RevisionRejected,
    RevisionResolved,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStarted,
    RolloutStepped,
    RoutingChanged,
    TerminationRequested,
    TrafficRulesSet,
)
from events.language.deployments.keys import EndpointKeyEvent
from events.language.deployments.models import DeploymentSpec, with_replicas_of
from events.language.deployments.moves import DEPLOYMENT_MOVES
from events.language.moves import check_move
from services.deployments import endpoint_keys
from services.deployments.replicas import planned
from services.deployments.state import MAX_REVISIONS, Deployment, Replica, Revision, Rollout

_MOST_PAUSE = 60.0
"""Seconds before a job is ordered in place of one that has ended, at most."""


def evolve(state: Deployment, event: Event, time: datetime) -> Deployment:
    """The state after an event; it is changed in place, but for a deployment that begins anew."""
    match event:
        case DeploymentCreated():
            last = (state.newest, state.last_replica, state.table, state.keys)
            state = Deployment(DeploymentStatus.PENDING, event.name, event.project, time)
            state.newest, state.last_replica, state.table, state.keys = last
        case DeploymentStatusChanged():
            assert state.status is not None, "the decider lets nothing come before the creation"
            check_move(DEPLOYMENT_MOVES, state.status, event.status, f"deployment {event.deployment_id}")
            state.status = event.status
        case DeploymentUpdated():
            _wanted(state, event.spec)
        case DeploymentScaled():
            assert state.spec is not None
            _wanted(state, state.spec.model_copy(update={"replicas": event.replicas}))
        case TerminationRequested():
            state.terminating, state.next, state.unresolved = True, 0, 0
        case TrafficRulesSet():
            state.rules = event.rules
        case RoutingChanged():
            state.table = event.table
        case ReplicaEvent():
            _replica(state, event, time)
        case EndpointKeyEvent():
            pass  # see below
        case RevisionCreated() | RevisionResolved() | RevisionRejected():
            _revision(state, event)
        case _:
            _rollout(state, event, time)
    state.memory.remember(event, time)
    _derive(state, time)
    endpoint_keys.evolve(state, event, time)
    return state


def _wanted(state: Deployment, spec: DeploymentSpec) -> None:
    if state.spec is not None and state.stable and spec.replicas != state.spec.replicas:
        state.scaling = True
    state.spec = spec


def _derive(state: Deployment, time: datetime) -> None:
    """What follows from the replicas that there are."""
    ready = state.ready()
    if ready >= state.wanted:
        state.short_since = None
    elif state.short_since is None:
        state.short_since = time
    if (rollout := state.rollout) is not None:
        behind = state.ready(rollout.revision) < planned(state).get(rollout.revision, 0)
        rollout.behind_since = (rollout.behind_since or time) if behind else None
    if state.scaling and ready == state.wanted == sum(1 for _ in state.live()):
        state.scaling = False


def _revision(state: Deployment, event: RevisionCreated | RevisionResolved | RevisionRejected) -> None:
    number = event.revision
    match event:
        case RevisionCreated():
            state.revisions[number] = Revision(event.spec)
            state.newest = state.unresolved = number
            _wanted(state, event.spec)
            _forget(state)
        case RevisionResolved():
            state.revisions[number].resolved, state.revisions[number].model = True, event.model
            state.unresolved, state.next = 0, number
        case RevisionRejected():
            state.unresolved, state.trouble = 0, event.reason
            del state.revisions[number]
            _back(state, event.replicas_of)


def _forget(state: Deployment) -> None:
    """Drop the oldest revisions that nothing is made of."""
    used = {replica.revision for replica in state.replicas.values()} | {state.stable, state.newest, state.next}
    if state.rollout is not None:
        used |= {state.rollout.revision, state.rollout.from_revision}
    for number in sorted(state.revisions):
        if len(state.revisions) <= MAX_REVISIONS:
            return
        if number not in used:
            del state.revisions[number]
            state.before = [each for each in state.before if each != number]


def _back(state: Deployment, number: int) -> None:
    """Replicas are wanted as an earlier revision says."""
    if number and state.spec is not None:
        state.spec = with_replicas_of(state.spec, state.revisions[number].spec)


def _rollout(state: Deployment, event: Event, time: datetime) -> None:
    rollout = state.rollout
    match event:
        case RolloutStarted():
            state.next, state.failures, state.retry_at = 0, 0, None
            state.rollout = Rollout(event.revision, event.from_revision, event.strategy, time)
        case RolloutStepped():
            assert rollout is not None
            rollout.step, rollout.weight = event.step, event.weight
            rollout.stepped_at, rollout.behind_since = time, None
        case RolloutPaused():
            assert rollout is not None
            rollout.paused = True
        case RolloutResumed():
            assert rollout is not None
            rollout.paused = False
            rollout.stepped_at, rollout.behind_since = time, None
        case RolloutCompleted():
            if state.stable:
                state.before = [each for each in state.before if each != state.stable] + [state.stable]
            state.stable, state.rollout = event.revision, None
        case RolloutRolledBack():
            state.rollout, state.trouble = None, event.reason
            _back(state, event.replicas_of)


def _replica(state: Deployment, event: ReplicaEvent, time: datetime) -> None:
    number, rollout = event.replica, state.rollout
    if isinstance(event, ReplicaRequested):
        state.replicas[number] = Replica(event.revision, event.job_id)
        state.jobs[event.job_id] = number
        state.last_replica = number
        return
    replica = state.replicas[number]
    new = rollout is not None and rollout.revision == replica.revision
    match event:
        case ReplicaStarted():
            replica.status, replica.attempt = ReplicaStatus.STARTED, event.attempt
            replica.address, replica.ports = event.address, dict(event.ports)
        case ReplicaReady():
            replica.status, replica.attempt, replica.served = ReplicaStatus.READY, event.attempt, True
            replica.problem = ""
            state.failures, state.retry_at = 0, None
            if rollout is not None and new:
                rollout.behind_since = None
        case ReplicaUnready():
            replica.status = ReplicaStatus.REQUESTED if event.exited else ReplicaStatus.UNREADY
            replica.attempt, replica.problem = event.attempt, event.reason
            if rollout is not None and new:
                rollout.crashes += event.crashed
                rollout.hopeless |= event.permanent and not any(each.served for _, each in state.live(replica.revision))
                rollout.problem = event.reason
        case ReplicaDraining():
            replica.status, replica.until = ReplicaStatus.DRAINING, event.until
        case ReplicaReleased():
            replica.status = ReplicaStatus.RELEASED
        case ReplicaEnded():
            del state.replicas[number]
            del state.jobs[replica.job_id]
            if replica.status in (ReplicaStatus.DRAINING, ReplicaStatus.RELEASED):
                return
            if rollout is not None and new:
                rollout.crashes += 1
                rollout.refused, rollout.problem = event.refused, event.reason
            state.failures += 1
            state.retry_at = time + timedelta(seconds=min(2.0 ** min(state.failures - 1, 10), _MOST_PAUSE))
