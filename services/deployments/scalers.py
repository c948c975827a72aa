"""Deployments whose number of replicas follows the load. Pure but for what is volatile.

ScalingDecided ─► DeploymentScaled; LoadObserved every five minutes, with what would be decided then
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

from events.language.common import utc
from events.language.deployments.events import DeploymentEvent, DeploymentScaled
from events.language.deployments.scaling import (
    AutoScalingPolicy,
    LoadForecast,
    MetricLoad,
    ScalingInputs,
    ScalingMetric,
    ScalingTarget,
)
from events.language.deployments.steering import LoadObserved, MinuteLoad, ScalingDecided
from services.deployments import explaining
from services.deployments.scaling.deciding import decide
from services.deployments.state import Deployment

TOLD_MINUTES = 5
"""Minutes of load in one event."""

_MOST_MINUTES = 10


def scaled(state: Deployment, id: str, now: datetime) -> Iterator[DeploymentEvent]:
    """What is decided now, if it changes anything; and the load, when it is to be told."""
    spec, load, time = state.spec, state.load, now.timestamp()
    if spec is None or spec.scaling is None:
        load.minute, load.minutes, load.told_at, load.panic_at, load.forecast = None, [], None, None, None
        load.watch.keeps_latencies = False
        return
    load.watch.span_seconds = max(60.0, spec.scaling.stable_seconds)
    load.watch.keeps_latencies = any(target.metric is ScalingMetric.LATENCY for target in spec.scaling.targets)
    _count_minutes(state, time)
    decision = decide(_inputs(state, spec.scaling, now))
    if decision.panicking:
        load.panic_at = time
    changes = decision.replicas != state.wanted
    if changes:
        summary = explaining.scaling(decision)
        yield ScalingDecided(deployment_id=id, decision=decision, summary=summary)
        yield DeploymentScaled(deployment_id=id, replicas=decision.replicas, before=state.wanted, reason=summary)
    if load.told_at is None:
        load.told_at = time
    elif time >= load.told_at + 60 * TOLD_MINUTES and not changes:
        minutes, load.minutes, load.told_at = load.minutes, [], time
        summary = explaining.scaling(decision)
        yield LoadObserved(deployment_id=id, minutes=tuple(minutes), standing=decision, summary=summary)


def _inputs(state: Deployment, policy: AutoScalingPolicy, now: datetime) -> ScalingInputs:
    load, memory, time = state.load, state.memory, now.timestamp()
    ready = state.ready()
    idle = load.watch.idle_seconds(time)
    return ScalingInputs(
        at=now,
        policy=policy,
        replicas=state.wanted,
        ready=ready,
        starting=sum(1 for _ in state.live()) - ready,
        loads=tuple(_load(state, target, policy, time) for target in policy.targets),
        watched_seconds=round(load.watch.watched_seconds(time), 3),
        held=load.held(time),
        idle_seconds=None if idle is None else round(idle, 3),
        since_up_seconds=_since(memory.up_at, now),
        since_down_seconds=_since(memory.down_at, now),
        since_panic_seconds=None if load.panic_at is None else round(max(0.0, time - load.panic_at), 3),
        forecast=_forecast(state, policy, time),
    )


def _since(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else max(0.0, round((now - at).total_seconds(), 3))


def _load(state: Deployment, target: ScalingTarget, policy: AutoScalingPolicy, now: float) -> MetricLoad:
    """The value of a target's metric in both windows."""
    watch = state.load.watch
    windows = policy.stable_seconds, policy.panic_seconds
    match target.metric:
        case ScalingMetric.RPS:
            values = [watch.rate(seconds) for seconds in windows]
        case ScalingMetric.LATENCY:
            values = [watch.latency(0.95, seconds, now) for seconds in windows]
        case _:
            used = watch.mean_usage(target.metric, target.custom)
            values = [used, used]  # agents' values are means of some seconds already
    stable, panic = (None if value is None else round(value, 6) for value in values)
    return MetricLoad(name=target.name, stable=stable, panic=panic)


def _count_minutes(state: Deployment, now: float) -> None:
    """Closes the minute that is over, if it was watched from begin to end."""
    load = state.load
    watched = load.watch.began is not None
    arrivals = sum(totals.arrivals for totals in load.watch.totals.values())
    if not watched or load.minute is None:
        load.minute = (now, arrivals) if watched else None
        return
    began, before = load.minute
    if now // 60 == began // 60:
        return
    load.minute = now, arrivals
    if now - began >= 45 and now // 60 == began // 60 + 1:
        minute = MinuteLoad(minute=utc(began // 60 * 60), rps=round(max(0, arrivals - before) / (now - began), 6))
        load.minutes = [*load.minutes, minute][-_MOST_MINUTES:]


def _forecast(state: Deployment, policy: AutoScalingPolicy, now: float) -> LoadForecast | None:
    """Made once a minute."""
    model, predictive = state.memory.model, policy.predictive
    if model is None or predictive is None:
        return None
    minute = int(now // 60)
    if state.load.forecast is None or state.load.forecast[0] != minute:
        ahead = math.ceil((state.memory.start_seconds() + predictive.lead_seconds) / 60)
        state.load.forecast = minute, model.forecast(minute, minute + ahead, predictive.quantile)
    return state.load.forecast[1]
