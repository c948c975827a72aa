"""How many replicas there are to be, by the policy and the load. Pure: the same inputs give the same decision.

1. The bounds: the policy's, or those of the schedule that holds.
2. What each metric asks for: value ÷ target for requests per second; ready × value ÷ target for the others, whose
   values are means over replicas; latency at most doubles and at most halves. The most demanding metric counts.
3. Panic (Knative's): the short window asks for `panic_ratio` times the replicas that are ready. Then the higher of both
   windows counts, and until one cool-down after a panic nothing is taken away.
4. What asks besides: the forecast, and requests that wait where no replica is.
5. Small differences change nothing. All replicas go after `idle_seconds` without a request, where the bounds allow it;
   else the last one stays.
6. Bounds, then cool-downs and steps. Bounds hold at once, whatever the behaviour.

Replicas that start count as replicas, so that one need is never answered twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from events.language.deployments.scaling import (
    AutoScalingPolicy,
    MetricNeed,
    ScalingBehavior,
    ScalingDecision,
    ScalingInputs,
    ScalingLimit,
    ScalingMetric,
    ScalingReason,
    ScalingTarget,
)
from services.deployments.scaling.schedules import Bounds, bounds_at

LATENCY_CHANGE = 2.0
"""Latency says that there are too few replicas, and not how many: one decision by it doubles or halves them at most."""

_ROUNDING = 1e-9
"""What a quotient may be above a whole number and still be that number."""

_MOST = 1e12


@dataclass(slots=True)
class _Wish:
    """A number of replicas, what asks for it, and what keeps it from being another."""

    replicas: int
    reason: ScalingReason
    metric: str = ""
    limit: ScalingLimit = ScalingLimit.NONE

    def become(self, replicas: int, limit: ScalingLimit) -> None:
        if replicas != self.replicas:
            self.replicas, self.limit = replicas, limit


def decide(inputs: ScalingInputs) -> ScalingDecision:
    """The decision of these inputs."""
    policy = inputs.policy
    bounds = bounds_at(policy, inputs.at)
    needs, unknown = _needs(inputs)
    by_panic = max((need.panic for need in needs), default=0.0)
    panic_now = by_panic >= policy.panic_ratio * max(inputs.ready, 1)
    wish = _asked_by_load(inputs, needs, panic_now)
    forecast = _asked_by_forecast(inputs)
    if forecast > wish.replicas:
        wish = _Wish(forecast, ScalingReason.FORECAST)
    if inputs.held and not inputs.ready and wish.replicas < 1:
        wish = _Wish(1, ScalingReason.DEMAND)
    if bounds.low == 0 and forecast < 1 and _is_idle(inputs):
        wish = _Wish(0, ScalingReason.IDLE)
    needed = wish.replicas
    if wish.replicas < 1 <= inputs.replicas and wish.reason is not ScalingReason.IDLE:
        wish.become(1, ScalingLimit.UNKNOWN if inputs.idle_seconds is None else ScalingLimit.NOT_IDLE)
    _bound(wish, bounds)
    _restrain(inputs, wish, bounds, unknown, panicking(inputs, panic_now))
    if wish.replicas == inputs.replicas and wish.limit is ScalingLimit.NONE:
        wish = _Wish(wish.replicas, ScalingReason.STEADY)
    return ScalingDecision(
        inputs=inputs,
        replicas=wish.replicas,
        reason=wish.reason,
        metric=wish.metric,
        limit=wish.limit,
        needs=tuple(needs),
        needed=needed,
        forecast_replicas=forecast,
        low=bounds.low,
        high=bounds.high,
        schedule=bounds.schedule,
        panicking=panic_now,
    )


def panicking(inputs: ScalingInputs, now: bool) -> bool:
    """Whether there is a panic, or the last one is no longer ago than one cool-down."""
    since = inputs.since_panic_seconds
    calm_after = max(inputs.policy.down.cooldown_seconds, inputs.policy.panic_seconds)
    return now or (since is not None and since < calm_after)


def _needs(inputs: ScalingInputs) -> tuple[list[MetricNeed], bool]:
    """What each target's metric asks for, and whether one is not known (or not for the whole window)."""
    loads = {load.name: load for load in inputs.loads}
    needs = []
    unknown = bool(inputs.policy.targets) and inputs.watched_seconds < inputs.policy.stable_seconds
    for target in inputs.policy.targets:
        load = loads.get(target.name)
        stable = None if load is None else _need(target, load.stable, inputs.ready)
        panic = None if load is None else _need(target, load.panic, inputs.ready)
        if stable is None:
            unknown = True
        if stable is not None or panic is not None:
            needs.append(MetricNeed(name=target.name, stable=stable or 0.0, panic=panic or 0.0))
    return needs, unknown


def _need(target: ScalingTarget, value: float | None, ready: int) -> float | None:
    """Replicas, not rounded; None if it is not known. Without a ready replica, means over replicas say nothing."""
    if value is None:
        return None
    ratio = max(0.0, value) / target.value
    if target.metric is ScalingMetric.RPS:
        return round(min(ratio, _MOST), 6)
    if not ready:
        return None
    if target.metric is ScalingMetric.LATENCY:
        ratio = min(max(ratio, 1 / LATENCY_CHANGE), LATENCY_CHANGE)
    return round(min(ready * ratio, _MOST), 6)


def _asked_by_load(inputs: ScalingInputs, needs: list[MetricNeed], panic: bool) -> _Wish:
    """By the most demanding metric. Without any that is known: what there is."""
    if not needs:
        least = inputs.replicas if inputs.policy.targets else min(inputs.replicas, 1)
        return _Wish(least, ScalingReason.LOAD)
    most = max(needs, key=lambda need: need.stable)
    exact, reason, metric = most.stable, ScalingReason.LOAD, most.name
    if panic:
        fastest = max(needs, key=lambda need: need.panic)
        if fastest.panic > exact:
            exact, reason, metric = fastest.panic, ScalingReason.PANIC, fastest.name
    wish = _Wish(math.ceil(exact - _ROUNDING), reason, metric)
    small = abs(exact - inputs.replicas) <= inputs.policy.tolerance_percent / 100 * inputs.replicas
    if small and not panic and inputs.replicas:
        wish.become(inputs.replicas, ScalingLimit.TOLERANCE)
    return wish


def _asked_by_forecast(inputs: ScalingInputs) -> int:
    """By the predicted load, as far as it is beyond the tolerance; 0 without one, or if yesterday's predictions were
    wrong by more than the policy allows."""
    policy, forecast = inputs.policy, inputs.forecast
    if policy.predictive is None or forecast is None or forecast.error_percent is None:
        return 0
    if forecast.error_percent > policy.predictive.max_error_percent:
        return 0
    targets = [target.value for target in policy.targets if target.metric is ScalingMetric.RPS]
    if not targets:
        return 0
    most = targets[0] * (1 + policy.tolerance_percent / 100)  # what a replica takes before another one is asked for
    return math.ceil(min(forecast.rps / most, _MOST) - _ROUNDING)


def _is_idle(inputs: ScalingInputs) -> bool:
    """Whether no request came for the policy's time, and none waits."""
    idle = inputs.idle_seconds
    return idle is not None and idle >= inputs.policy.idle_seconds and not inputs.held


def _bound(wish: _Wish, bounds: Bounds) -> None:
    if wish.replicas < bounds.low:
        if wish.reason is not ScalingReason.DEMAND:
            wish.reason, wish.metric = ScalingReason.MINIMUM, ""
        wish.become(bounds.low, ScalingLimit.MINIMUM)
    elif wish.replicas > bounds.high:
        wish.reason, wish.metric = ScalingReason.MAXIMUM, ""
        wish.become(bounds.high, ScalingLimit.MAXIMUM)


def _restrain(inputs: ScalingInputs, wish: _Wish, bounds: Bounds, unknown: bool, panic: bool) -> None:
    """Cool-downs and steps, within the bounds."""
    policy, replicas = inputs.policy, inputs.replicas
    if wish.replicas > replicas:
        if replicas and _cooling(policy.up, inputs.since_up_seconds):
            wish.become(max(replicas, bounds.low), ScalingLimit.COOLDOWN)
        elif replicas:
            step = max(replicas + _step(policy.up, replicas), bounds.low)
            wish.become(min(wish.replicas, step), ScalingLimit.STEP)
    elif wish.replicas < replicas:
        kept = min(replicas, bounds.high)
        if panic:
            wish.become(kept, ScalingLimit.PANIC)
        elif unknown and wish.reason is not ScalingReason.IDLE:
            wish.become(kept, ScalingLimit.UNKNOWN)
        elif _cooling(policy.down, inputs.since_down_seconds) or _cooling(policy.down, inputs.since_up_seconds):
            wish.become(kept, ScalingLimit.COOLDOWN)
        else:
            step = min(replicas - _step(policy.down, replicas), bounds.high)
            wish.become(max(wish.replicas, step), ScalingLimit.STEP)


def _cooling(behavior: ScalingBehavior, since: float | None) -> bool:
    return since is not None and since < behavior.cooldown_seconds


def _step(behavior: ScalingBehavior, replicas: int) -> int:
    """The most replicas of one change; at least one."""
    if not behavior.step_replicas and not behavior.step_percent:
        return 1 << 40
    by_percent = math.floor(behavior.step_percent / 100 * replicas + _ROUNDING)
    return max(1, behavior.step_replicas, by_percent)


def highest(policy: AutoScalingPolicy) -> int:
    """The most replicas that the policy ever has."""
    return max([policy.max_replicas, *(schedule.max_replicas or 0 for schedule in policy.schedules)])
