"""How a deployment stands: its status follows from its replicas and its rollout. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from events.language.deployments.enums import DeploymentStatus
from events.language.deployments.events import DeploymentEvent, DeploymentStatusChanged
from events.language.deployments.models import MAX_REASON
from events.language.deployments.moves import DEPLOYMENT_MOVES
from services.deployments import waiting
from services.deployments.state import Deployment

DEGRADED_AFTER = timedelta(seconds=10)
"""How long a deployment may have too few ready replicas before it is degraded."""

S = DeploymentStatus

_ENDS = (S.FAILED, S.TERMINATING, S.TERMINATED)


def changed(state: Deployment, id: str, now: datetime) -> list[DeploymentEvent]:
    """The move to the status that it has now, one at a time."""
    assert state.status is not None
    status = _status(state, now)
    if status is state.status:
        return []
    step = first_move(state.status, status)
    return [DeploymentStatusChanged(deployment_id=id, status=step, reason=_reason(state, step))]


def first_move(old: DeploymentStatus, new: DeploymentStatus) -> DeploymentStatus:
    """The first of the fewest moves from one status to another: one that is over at once is passed through, such as
    `deploying` without replicas. None is that means an end."""
    if new is S.TERMINATED and old is not S.TERMINATING:
        return S.TERMINATING
    came, waiting = {old: old}, [old]
    for status in waiting:
        for following in sorted(DEPLOYMENT_MOVES[status]):
            if following not in came and (following is new or following not in _ENDS):
                came[following] = status
                waiting.append(following)
    step = new
    while came[step] is not old:
        step = came[step]
    return step


def due(state: Deployment) -> Iterator[datetime]:
    """When its status changes although nothing has happened."""
    short, status = state.short_since, state.status
    if short is None or not _in_place(state):
        return
    if status is S.SCALING or (status is S.DEGRADED and not state.ready()):
        yield short + _deadline(state)
    elif status not in (S.DEGRADED, S.FAILED):
        yield short + DEGRADED_AFTER


def _in_place(state: Deployment) -> bool:
    """Whether nothing but its replicas' readiness counts."""
    return not state.terminating and (state.holding or (state.rollout is None and bool(state.stable)))


def _deadline(state: Deployment) -> timedelta:
    assert state.spec is not None
    return timedelta(seconds=max(state.spec.rollout.progress_deadline_seconds, DEGRADED_AFTER.total_seconds()))


def _status(state: Deployment, now: datetime) -> DeploymentStatus:
    assert state.status is not None
    if state.terminating:
        return S.TERMINATING if state.replicas else S.TERMINATED
    if state.rollout is not None and not state.holding:
        return S.DEPLOYING if state.status in (S.PENDING, S.DEPLOYING) else S.UPDATING
    if not _in_place(state):
        return state.status if state.unresolved or state.next else S.FAILED
    short = state.short_since
    if short is None:
        return S.SCALING if state.scaling else _running(state)
    late = now >= short + _deadline(state)
    if late and not state.ready():
        return S.FAILED
    if state.scaling and not late:
        return S.SCALING
    if late or now >= short + DEGRADED_AFTER or state.status in (S.DEGRADED, S.FAILED):
        return S.FAILED if state.status is S.FAILED and not state.ready() else S.DEGRADED
    return _running(state)


def _running(state: Deployment) -> DeploymentStatus:
    return S.DEGRADED if state.unavailable else S.RUNNING


def _reason(state: Deployment, status: DeploymentStatus) -> str:
    match status:
        case S.DEGRADED if state.short_since is None:
            return "an alert about its availability fires"
        case S.DEGRADED:
            return _with_cause(state, f"{state.ready()} of {state.wanted} replicas are ready")
        case S.FAILED if state.stable:
            return _with_cause(state, f"none of {state.wanted} replicas is ready")
        case S.FAILED:
            return state.trouble
    return ""


def _with_cause(state: Deployment, reason: str) -> str:
    """A reason with why one of the replicas is not ready."""
    cause = waiting.cause(state)
    return f"{reason}; {cause}"[:MAX_REASON] if cause else reason
