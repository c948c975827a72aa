"""Decisions in words, for people: what was decided, by which numbers, and what kept it from more. Pure."""

from __future__ import annotations

import math

from events.language.deployments.alerts import AlertComparison, AlertFinding, AlertType
from events.language.deployments.canary import CanaryJudgement, CanaryMetric, CanaryTest, CanaryVerdict
from events.language.deployments.models import MAX_REASON
from events.language.deployments.scaling import (
    ScalingDecision,
    ScalingInputs,
    ScalingLimit,
    ScalingMetric,
    ScalingReason,
    ScalingTarget,
)

_UNITS = {
    ScalingMetric.CPU: "% of the CPUs",
    ScalingMetric.MEMORY: "% of the memory",
    ScalingMetric.GPU: "% of the GPUs",
    ScalingMetric.RPS: " requests/s",
    ScalingMetric.LATENCY: " ms p95",
}


def scaling(decision: ScalingDecision) -> str:
    """Such as ``2 → 5 replicas: 240 requests/s need 4.8 at 50 a replica``."""
    before, after = decision.inputs.replicas, decision.replicas
    change = f"{'' if before == after else f'{before} → '}{_counted(after, 'replica', 'replicas')}"
    text = f"{change}: {_why(decision)}"
    if limit := _limit(decision):
        text = f"{text}; {limit}"
    return text[:MAX_REASON]


def _why(decision: ScalingDecision) -> str:
    inputs = decision.inputs
    match decision.reason:
        case ScalingReason.DEMAND:
            return f"{_counted(inputs.held, 'request waits', 'requests wait')} and no replica is there"
        case ScalingReason.IDLE:
            return f"no request for {_seconds(inputs.idle_seconds)}"
        case ScalingReason.FORECAST:
            rps = inputs.forecast.rps if inputs.forecast is not None else 0.0
            return f"{rps:.3g} requests/s are forecast, which need {decision.forecast_replicas}"
        case ScalingReason.MINIMUM:
            return f"{_bounds(decision)} asks for at least {decision.low}; {_load(decision)}"
        case ScalingReason.MAXIMUM:
            return f"{_bounds(decision)} allows {decision.high}; {_load(decision)}"
    return _load(decision)


def _load(decision: ScalingDecision) -> str:
    """The metric that counts, with its value and target."""
    if not decision.needs:
        return "no load is known" if decision.inputs.policy.targets else "no target is set"
    name = decision.metric or max(decision.needs, key=lambda need: need.stable).name
    panic = decision.reason is ScalingReason.PANIC
    need = next(need for need in decision.needs if need.name == name)
    target = next(target for target in decision.inputs.policy.targets if target.name == name)
    value = _value(decision.inputs, name, panic)
    window = f" over {decision.inputs.policy.panic_seconds:g} s, a panic," if panic else ""
    return f"{_measured(target, value)}{window} need {need.panic if panic else need.stable:.3g} at {_target(target)}"


def _value(inputs: ScalingInputs, name: str, panic: bool) -> float:
    load = next(load for load in inputs.loads if load.name == name)
    return (load.panic if panic else load.stable) or 0.0


def _measured(target: ScalingTarget, value: float) -> str:
    return f"{value:.3g}{_UNITS.get(target.metric, f' {target.custom}')}"


def _target(target: ScalingTarget) -> str:
    return f"{target.value:g} a replica" if target.metric is ScalingMetric.RPS else f"a target of {target.value:g}"


def _bounds(decision: ScalingDecision) -> str:
    return f"the schedule {decision.schedule}" if decision.schedule else "the policy"


def _limit(decision: ScalingDecision) -> str:
    """What keeps the number from what is needed; empty where nothing does, or the reason says it."""
    inputs, needed = decision.inputs, f"{decision.needed} are needed"
    match decision.limit:
        case ScalingLimit.TOLERANCE:
            return f"the difference is within the tolerance of {inputs.policy.tolerance_percent:g} %"
        case ScalingLimit.COOLDOWN:
            return f"{needed}, and the last change is too recent"
        case ScalingLimit.PANIC:
            return f"{needed}, and nothing is taken away so soon after a panic"
        case ScalingLimit.STEP:
            return f"{needed}, and one change goes no further"
        case ScalingLimit.UNKNOWN:
            return f"{needed}, and nothing is taken away while {_unknown(decision)}"
        case ScalingLimit.NOT_IDLE:
            after = _seconds(inputs.policy.idle_seconds)
            return f"the last replica goes after {after} without a request, and the last one was {_ago(inputs)}"
    return ""


def _unknown(decision: ScalingDecision) -> str:
    inputs = decision.inputs
    known = {load.name for load in inputs.loads if load.stable is not None}
    missing = [target.name for target in inputs.policy.targets if target.name not in known]
    if missing:
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not known"
    return f"loads are watched for {_seconds(inputs.watched_seconds)} only"


def _ago(inputs: ScalingInputs) -> str:
    return f"{_seconds(inputs.idle_seconds)} ago" if inputs.idle_seconds is not None else "at a time that is not known"


def _seconds(seconds: float | None) -> str:
    return f"{seconds or 0.0:.0f} s"


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def canary(judgement: CanaryJudgement) -> str:
    """Such as ``revision 2 at 10 %, look 1 of 3: failures +19.8 points (at least +11.2, allowed 1): rolled back``."""
    evidence = judgement.evidence
    percents = evidence.policy.percentages
    percent = percents[min(evidence.step, len(percents) - 1)]
    tests = ", ".join(_tested(test) for test in judgement.tests) or "too few requests to compare"
    end = {
        CanaryVerdict.CONTINUE: "it goes on",
        CanaryVerdict.ADVANCE: "it advances",
        CanaryVerdict.ROLL_BACK: f"rolled back for {' and '.join(judgement.exceeded)}",
    }[judgement.verdict]
    return f"revision {evidence.canary} at {percent} %, look {evidence.look} of 3: {tests}: {end}"[:MAX_REASON]


def _tested(test: CanaryTest) -> str:
    if test.metric is CanaryMetric.FAILURES:
        return f"failures {test.difference:+.3g} points (at least {test.lower_bound:+.3g}, allowed {test.limit:g})"
    times, least, most = (math.exp(value) for value in (test.difference, test.lower_bound, test.limit))
    return f"{test.metric} latency × {times:.3g} (at least × {least:.3g}, allowed × {most:.3g})"


_WORDS = {
    AlertComparison.ABOVE: "above",
    AlertComparison.AT_LEAST: "at least",
    AlertComparison.BELOW: "below",
    AlertComparison.AT_MOST: "at most",
}


def alert(finding: AlertFinding) -> str:
    """Such as ``slow: p95 latency 812 ms, above 500, in 3 windows of 60 s``."""
    rule, values = finding.alert, finding.windows
    what = {
        AlertType.LATENCY: f"p{rule.percentile or 95:g} latency {values[-1]:.4g} ms",
        AlertType.ERROR_RATE: f"{values[-1]:.3g} % of requests failed",
        AlertType.RESOURCE: f"{values[-1]:.3g} % of {rule.resource} used",
        AlertType.AVAILABILITY: f"{values[-1]:.3g} % of replicas ready",
        AlertType.DRIFT: f"a stability index of {values[-1]:.3g}" + (f" of {finding.column}" if finding.column else ""),
    }[rule.type]
    windows = _counted(len(values), "window", "windows")
    return (
        f"{rule.name}: {what}, {_WORDS[rule.comparison]} {rule.threshold:g}, in {windows} of {rule.window_seconds:g} s"
    )
