"""What a deployment does next: `step` gives the events that are due now. Pure.

1. A revision whose model is resolved begins to be rolled out (`RolloutStarted`).
2. A rollout is given up (`RolloutRolledBack`): too many crashes, one that no further try mends, or no progress for too
   long.
3. A rollout goes on (`RolloutStepped`), or is complete (`RolloutCompleted`).
4. Replicas are ordered, drained and released (`services.deployments.replicas`).
5. Routers are told (`RoutingChanged`, `services.deployments.routing`).
6. The status follows (`services.deployments.status`).

Each event may make a further one due, so `step` is called until it returns nothing.

What always holds: no replica is ordered beyond wanted + max_surge (blue-green: twice the wanted); no ready replica is
drained below wanted - max_unavailable; only revisions with ready replicas get requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from events.language.deployments.enums import RollbackCause, RolloutStrategy
from events.language.deployments.events import (
    DeploymentEvent,
    RolloutCompleted,
    RolloutRolledBack,
    RolloutStarted,
    RolloutStepped,
)
from events.language.deployments.models import MAX_REASON, RolloutPolicy
from events.language.deployments.routing import WHOLE
from services.deployments import endpoint_keys, replicas, routing, status, waiting
from services.deployments.state import Deployment, Rollout


def step(state: Deployment, id: str, project: str, now: datetime) -> Sequence[DeploymentEvent]:
    """The events that are due. Nothing once the state is as it is to be until something happens or `due` comes."""
    return (
        _begun(state, id)
        or _given_up(state, id, now)
        or _gone_on(state, id, now)
        or replicas.changed(state, id, project, now)
        or routing.changed(state, id, now)
        or status.changed(state, id, now)
    )


def due(state: Deployment) -> datetime | None:
    """When `step` gives an event although nothing has happened."""
    times = [*replicas.due(state), *status.due(state), *endpoint_keys.due(state)]
    rollout = state.rollout
    if rollout is not None and not rollout.paused:
        if rollout.behind_since is not None:
            times.append(_deadline(state, rollout.behind_since))
        elif state.holding:
            times.append(_hold_end(state, rollout))
    return min(times, default=None)


def _policy(state: Deployment) -> RolloutPolicy:
    assert state.spec is not None
    return state.spec.rollout


def _begun(state: Deployment, id: str) -> list[DeploymentEvent]:
    number, rollout = state.next, state.rollout
    if not number or state.terminating:
        return []
    if rollout is not None:
        if state.holding:
            return [completed(rollout, id)]
        return [rolled_back(state, id, RollbackCause.SUPERSEDED, f"revision {number} takes its place")]
    strategy = _policy(state).strategy if state.stable else RolloutStrategy.ROLLING
    return [RolloutStarted(deployment_id=id, revision=number, from_revision=state.stable, strategy=strategy)]


def rolled_back(state: Deployment, id: str, cause: RollbackCause, reason: str) -> RolloutRolledBack:
    """The end of the rollout under way."""
    rollout = state.rollout
    assert rollout is not None
    newer = state.unresolved or state.next
    return RolloutRolledBack(
        deployment_id=id,
        revision=rollout.revision,
        to_revision=state.stable,
        cause=cause,
        reason=reason,
        replicas_of=0 if newer else state.stable,
    )


def completed(rollout: Rollout, id: str) -> RolloutCompleted:
    """Its revision is in place."""
    return RolloutCompleted(deployment_id=id, revision=rollout.revision, from_revision=rollout.from_revision)


def _given_up(state: Deployment, id: str, now: datetime) -> list[DeploymentEvent]:
    rollout = state.rollout
    if rollout is None or rollout.paused:
        return []
    policy = _policy(state)
    if rollout.refused:
        return [rolled_back(state, id, RollbackCause.REFUSED, rollout.problem)]
    if rollout.hopeless:
        return [rolled_back(state, id, RollbackCause.CRASHES, f"it can't be served: {rollout.problem}"[:MAX_REASON])]
    if rollout.crashes >= policy.crash_limit:
        times = "once" if rollout.crashes == 1 else f"{rollout.crashes} times"
        reason = _with(f"processes of its replicas have ended {times}", rollout)
        return [rolled_back(state, id, RollbackCause.CRASHES, reason)]
    if rollout.behind_since is not None and now >= _deadline(state, rollout.behind_since):
        reason = _with(f"no replica of it got ready for {policy.progress_deadline_seconds:g} seconds", rollout)
        if not rollout.problem and (cause := waiting.cause(state, rollout.revision)):
            reason = f"{reason}; {cause}"[:MAX_REASON]
        return [rolled_back(state, id, RollbackCause.DEADLINE, reason)]
    return []


def _with(reason: str, rollout: Rollout) -> str:
    return f"{reason}; the last time: {rollout.problem}"[:MAX_REASON] if rollout.problem else reason


def _deadline(state: Deployment, since: datetime) -> datetime:
    return since + timedelta(seconds=_policy(state).progress_deadline_seconds)


def _hold_end(state: Deployment, rollout: Rollout) -> datetime:
    return rollout.stepped_at + timedelta(seconds=_policy(state).undo_seconds)


def _gone_on(state: Deployment, id: str, now: datetime) -> list[DeploymentEvent]:
    rollout = state.rollout
    if rollout is None or rollout.paused or state.terminating:
        return []
    ready = state.ready(rollout.revision) >= state.wanted
    alone = all(replica.revision == rollout.revision for _, replica in state.live())
    match rollout.strategy:
        case RolloutStrategy.BLUE_GREEN if state.holding:
            return [completed(rollout, id)] if now >= _hold_end(state, rollout) else []
        case RolloutStrategy.BLUE_GREEN if ready:
            return [stepped(rollout, id, 1, WHOLE, "all of its replicas are ready")]
        case RolloutStrategy.CANARY if not rollout.step:
            return [stepped(rollout, id, 1, next(weights_left(state)), "it begins")]
        case RolloutStrategy.CANARY if rollout.weight == WHOLE and ready and alone:
            return [completed(rollout, id)]
        case RolloutStrategy.ROLLING if ready and alone:
            return [completed(rollout, id)]
    return []


def weights_left(state: Deployment) -> Iterator[int]:
    """The weights that are before a rollout, in basis points; the last one is the whole."""
    rollout = state.rollout
    assert rollout is not None
    if rollout.strategy is RolloutStrategy.CANARY:
        percents = _policy(state).canary.percentages
        yield from (percent * WHOLE // 100 for percent in percents if percent * WHOLE // 100 > rollout.weight)
    if rollout.weight < WHOLE:
        yield WHOLE


def stepped(rollout: Rollout, id: str, steps: int, weight: int, reason: str) -> RolloutStepped:
    """The rollout's next step, or several at once."""
    return RolloutStepped(
        deployment_id=id, revision=rollout.revision, step=rollout.step + steps, weight=weight, reason=reason
    )
