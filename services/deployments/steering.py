"""What a deployment's load leads to: `step` gives the events that are due now, then those of the rollout. Pure.

A look at the load is taken when a report comes, at most twice a second, and every few seconds without any. It asks, in
this order: is the canary worse than the revision in place, does an alert fire, are there as many replicas as the load
needs? What it decides is in events with all that it saw; windows and marks are volatile, and fill anew after a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from events.language.common import utc
from events.language.deployments.enums import RolloutStrategy
from events.language.deployments.events import DeploymentEvent
from services.deployments import alerting, canarying, rollout, scalers
from services.deployments.state import Deployment

LOOK_SECONDS = 0.5
"""Least time between two looks."""

QUIET_SECONDS = 5.0
"""Time between two looks while no report comes."""


def step(state: Deployment, id: str, project: str, now: datetime) -> Sequence[DeploymentEvent]:
    """The events that are due. Nothing once the state is as it is to be until something happens or `due` comes."""
    return [*_looked(state, id, now)] or rollout.step(state, id, project, now)


def due(state: Deployment) -> datetime | None:
    """When `step` is to be called although nothing has happened."""
    times = [rollout.due(state), _next_look(state)]
    return min((time for time in times if time is not None), default=None)


def _follows(state: Deployment) -> bool:
    """Whether anything is decided by the load."""
    spec = state.spec
    if spec is None or state.terminating or not (state.stable or state.rollout):
        return False
    return spec.scaling is not None or bool(spec.alerts.alerts) or bool(state.memory.firing) or _has_canary(state)


def _has_canary(state: Deployment) -> bool:
    return state.rollout is not None and state.rollout.strategy is RolloutStrategy.CANARY


def _next_look(state: Deployment) -> datetime | None:
    """A canary without requests waits for reports. Schedules, idleness and windows of alerts need none."""
    spec, looked_at = state.spec, state.load.looked_at
    if spec is None or not _follows(state):
        return None
    if spec.scaling is None and not spec.alerts.alerts and not state.memory.firing:
        return None
    return state.created_at if looked_at is None else utc(looked_at + QUIET_SECONDS)


def _looked(state: Deployment, id: str, now: datetime) -> Iterator[DeploymentEvent]:
    """One look; none if the last one was just now."""
    load, time = state.load, now.timestamp()
    if not _follows(state):
        load.canary, load.alerts, load.looked_at = None, {}, None
        return
    if load.looked_at is not None and time < load.looked_at + LOOK_SECONDS:
        return
    load.looked_at = time
    load.watch.forget_lost(time)
    judged = canarying.judged(state, id, time)
    alarmed = alerting.alarmed(state, id, time, rolled_back=any(canarying.ends(event) for event in judged))
    yield from judged
    yield from alarmed
    if not any(alerting.scales(event) for event in alarmed):
        yield from scalers.scaled(state, id, now)
