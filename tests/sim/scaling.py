"""A day of a simulated deployment under several policies: how many requests are in time, and for how many replicas.

python -m tests.sim.scaling

The load is a wave of a day with a steep morning, noise that lasts, and bursts. Replicas take most of a minute to start.
A request is in time if the ready replicas can take it in the second in which it comes. Exit status 1 if predictive
scaling is not at least as good as reactive scaling for at most a tenth more replica-hours.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from events.language.common import utc
from events.language.deployments.scaling import (
    AutoScalingPolicy,
    LoadForecast,
    MetricLoad,
    PredictiveScaling,
    ScalingDecision,
    ScalingInputs,
    ScalingMetric,
    ScalingTarget,
)
from events.language.deployments.traffic import RevisionTraffic, TrafficCounts
from services.deployments.scaling.deciding import decide
from services.deployments.scaling.forecasting import DayModel
from services.deployments.watching import Watch

STEP = 2
"""Seconds between two decisions."""
DAY = 86_400
CAPACITY = 60.0
"""Requests per second that a replica answers in time."""
TARGET = 50.0
LEAST, MOST = 1, 12

Loads = NDArray[np.float64]
"""Requests per second, second by second."""


def wave(random: np.random.Generator, days: int) -> Loads:
    """Days that resemble each other: a night, a steep morning, a noon, an evening; lasting noise; bursts."""
    seconds = np.arange(days * DAY)
    hour = seconds % DAY / 3600

    def rise(at: float, steepness: float) -> Loads:
        risen: Loads = 0.5 + 0.5 * np.tanh((hour - at) * steepness)
        return risen

    shape = 30 + 260 * rise(8.0, 30) - 120 * rise(12.0, 3) + 160 * rise(18.0, 20) - 300 * rise(21.5, 1)
    minutes = np.zeros(days * 1440)
    for minute in range(1, len(minutes)):
        minutes[minute] = 0.95 * minutes[minute - 1] + 0.02 * random.standard_normal()
    loads: Loads = np.maximum(shape, 5.0) * np.exp(np.repeat(minutes, 60))
    for start in random.integers(0, len(loads) - 600, size=3 * days):
        loads[start : start + 180] *= 1.5
    return random.poisson(loads).astype(np.float64)


@dataclass
class Result:
    in_time: float
    """Share of the requests, percent."""
    replica_hours: float
    changes: int
    decisions: list[ScalingDecision]
    """Those that changed the number of replicas."""


class Replicas:
    """Replicas that take a while to start."""

    def __init__(self, random: np.random.Generator, count: int) -> None:
        self._random = random
        self.ready = count
        self.starting: list[float] = []
        self.seconds = 0.0

    @property
    def wanted(self) -> int:
        return self.ready + len(self.starting)

    def pass_to(self, now: float) -> None:
        self.ready += sum(ready_at <= now for ready_at in self.starting)
        self.starting = [ready_at for ready_at in self.starting if ready_at > now]

    def become(self, count: int, now: float) -> None:
        while self.wanted < count:
            self.starting.append(now + float(self._random.uniform(30, 60)))
        while self.wanted > count:
            if self.starting:
                self.starting.pop()
            else:
                self.ready -= 1


Scaler = Callable[[float, Watch, Replicas], tuple[int, ScalingDecision | None]]
"""The wanted number of replicas at a time."""


def simulate(loads: Loads, scaler: Scaler, start: int, random: np.random.Generator) -> Result:
    """One day of these loads; `start` replicas to begin with."""
    watch, replicas = Watch(), Replicas(random, start)
    came = in_time = 0.0
    total = changes = 0
    decisions = []
    for now in range(0, len(loads), STEP):
        replicas.pass_to(now)
        for second in loads[now : now + STEP]:
            came += second
            in_time += min(second, replicas.ready * CAPACITY)
            total += int(second)
        replicas.seconds += replicas.wanted * STEP
        traffic = RevisionTraffic(revision=1, requests=total)
        watch.note("router", TrafficCounts(incarnation="a", seconds=now + STEP, revisions=(traffic,)), now + STEP)
        wanted, decision = scaler(now + STEP, watch, replicas)
        if wanted != replicas.wanted:
            changes += 1
            if decision is not None:
                decisions.append(decision)
            replicas.become(wanted, now + STEP)
    return Result(100 * in_time / came, replicas.seconds / 3600, changes, decisions)


def fixed(count: int) -> Scaler:
    return lambda *_: (count, None)


def hpa() -> Scaler:
    """Kubernetes' HorizontalPodAutoscaler with its defaults: every 15 s, 10 % tolerance, down by the highest wish of 5
    minutes."""
    wishes: deque[tuple[float, int]] = deque()

    def scale(now: float, watch: Watch, replicas: Replicas) -> tuple[int, ScalingDecision | None]:
        rate = watch.rate(15)
        if now % 15 >= STEP or rate is None:
            return replicas.wanted, None
        exact = rate / TARGET
        steady = abs(exact / replicas.wanted - 1) <= 0.1
        wish = min(max(replicas.wanted if steady else math.ceil(exact), LEAST), MOST)
        wishes.append((now, wish))
        while wishes[0][0] < now - 300:
            wishes.popleft()
        highest = max(wanted for _, wanted in wishes)
        return wish if wish > replicas.wanted else min(replicas.wanted, highest), None

    return scale


def ours(policy: AutoScalingPolicy, model: DayModel | None, first_minute: int) -> Scaler:
    """The platform's decisions. The model is told the load as the log tells it: five minutes at a time."""
    up: float | None = None
    down: float | None = None
    panic: float | None = None
    told: list[tuple[int, float]] = []
    minute_began = (0.0, 0)
    forecast: tuple[int, LoadForecast | None] = (-1, None)

    def scale(now: float, watch: Watch, replicas: Replicas) -> tuple[int, ScalingDecision | None]:
        nonlocal up, down, panic, minute_began, forecast
        if model is not None and policy.predictive is not None:
            if now - minute_began[0] >= 60:
                arrivals = watch.totals[1].arrivals if watch.totals else 0
                told.append((first_minute + int(now // 60) - 1, (arrivals - minute_began[1]) / 60))
                minute_began = (now, arrivals)
                if len(told) == 5:
                    for minute, rps in told:
                        model.fold(minute, rps)
                    told.clear()
            minute = first_minute + int(now // 60)
            if forecast[0] != minute:
                ahead = math.ceil((60 + policy.predictive.lead_seconds) / 60)
                forecast = (minute, model.forecast(minute, minute + ahead, policy.predictive.quantile))
        inputs = ScalingInputs(
            at=utc(now),
            policy=policy,
            replicas=replicas.wanted,
            ready=replicas.ready,
            starting=len(replicas.starting),
            loads=(
                MetricLoad(
                    name="rps", stable=watch.rate(policy.stable_seconds), panic=watch.rate(policy.panic_seconds)
                ),
            ),
            watched_seconds=watch.watched_seconds(now),
            idle_seconds=watch.idle_seconds(now),
            since_up_seconds=None if up is None else now - up,
            since_down_seconds=None if down is None else now - down,
            since_panic_seconds=None if panic is None else now - panic,
            forecast=forecast[1],
        )
        decision = decide(inputs)
        if decision.panicking:
            panic = now
        if decision.replicas > replicas.wanted:
            up = now
        elif decision.replicas < replicas.wanted:
            down = now
        return decision.replicas, decision

    return scale


def policy_of(predictive: bool) -> AutoScalingPolicy:
    return AutoScalingPolicy(
        min_replicas=LEAST,
        max_replicas=MOST,
        targets=(ScalingTarget(metric=ScalingMetric.RPS, value=TARGET),),
        predictive=PredictiveScaling() if predictive else None,
    )


def trained(loads: Loads) -> DayModel:
    """A model that has seen these days."""
    model = DayModel()
    for minute, rps in enumerate(loads.reshape(-1, 60).mean(axis=1).tolist()):
        model.fold(minute, rps)
    return model


def compare(seed: int, seconds: int = DAY, others: bool = True) -> dict[str, Result]:
    """The results of the third day, or of its first `seconds`, by the name of the scaler."""
    loads = wave(np.random.default_rng(seed), 3)
    days = 2 * DAY + 600
    seen, day = loads[:days], loads[days : days + seconds]
    start = max(LEAST, math.ceil(float(day[:60].mean()) / TARGET))
    first_minute = days // 60
    scalers = {
        "reactive": ours(policy_of(predictive=False), None, first_minute),
        "predictive": ours(policy_of(predictive=True), trained(seen), first_minute),
    }
    if others:
        peak = math.ceil(float(np.quantile(day.reshape(-1, 60).mean(axis=1), 0.999)) / TARGET)
        scalers |= {"hpa": hpa(), f"fixed, {peak} replicas": fixed(peak)}
    return {name: simulate(day, scaler, start, np.random.default_rng(seed)) for name, scaler in scalers.items()}


def right(results: dict[str, Result]) -> bool:
    """Predictive scaling is at least as good, for at most a tenth more, and each decision is that of its inputs."""
    reactive, predictive = results["reactive"], results["predictive"]
    return (
        predictive.in_time >= reactive.in_time
        and predictive.replica_hours <= 1.1 * reactive.replica_hours
        and all(decide(decision.inputs) == decision for result in results.values() for decision in result.decisions)
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.scaling", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = compare(options.seed)
    for name, result in results.items():
        hours, changes = result.replica_hours, result.changes
        print(f"{name}: {result.in_time:.2f} % in time, {hours:.1f} replica-hours, {changes} changes")
    return int(not right(results))


if __name__ == "__main__":
    sys.exit(main())
