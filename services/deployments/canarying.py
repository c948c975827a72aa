"""Canaries that are rolled out: what their looks lead to. Pure but for the volatile watch.

CanaryJudged ─► RolloutStepped after the last look of a step, RolloutRolledBack if the canary is worse
"""

from __future__ import annotations

from events.language.deployments.canary import CanaryEvidence, CanaryMetric, CanaryVerdict
from events.language.deployments.enums import RollbackCause, RolloutStrategy
from events.language.deployments.events import DeploymentEvent, RolloutCompleted, RolloutRolledBack
from events.language.deployments.routing import WHOLE
from events.language.deployments.steering import CanaryJudged
from services.deployments import explaining, rollout
from services.deployments.canary.blocks import Blocks
from services.deployments.canary.judging import judge, look_is_due
from services.deployments.loads import CanaryWatch
from services.deployments.state import Deployment
from services.deployments.watching import Totals


def judged(state: Deployment, id: str, now: float) -> list[DeploymentEvent]:
    """The look that is due, and what follows from it."""
    under_way, spec = state.rollout, state.spec
    if (
        under_way is None
        or spec is None
        or under_way.strategy is not RolloutStrategy.CANARY
        or under_way.paused
        or not 0 < under_way.weight < WHOLE
    ):
        state.load.canary = None
        return []
    totals, policy = state.load.watch.totals, spec.rollout.canary
    canary = totals.get(under_way.revision, Totals())
    baseline = totals.get(under_way.from_revision, Totals())
    watch = state.load.canary
    if watch is None or (watch.revision, watch.step, watch.medians.policy) != (
        under_way.revision,
        under_way.step,
        policy,
    ):
        watch = CanaryWatch(
            under_way.revision,
            under_way.step,
            now,
            canary.copy(),
            baseline.copy(),
            Blocks(policy, CanaryMetric.MEDIAN),
            Blocks(policy, CanaryMetric.P95),
        )
        state.load.canary = watch
    if watch.medians.is_due(now) or watch.p95s.is_due(now):
        sketches = canary.sketch(), baseline.sketch()
        watch.medians.note(now, *sketches)
        watch.p95s.note(now, *sketches)
    elapsed = max(0.0, now - watch.began)
    if not look_is_due(policy, state.memory.looks, elapsed, canary.requests - watch.canary.requests):
        return []
    judgement = judge(
        CanaryEvidence(
            policy=policy,
            canary=under_way.revision,
            baseline=under_way.from_revision,
            step=min(max(under_way.step - 1, 0), len(policy.percentages) - 1),
            look=state.memory.looks + 1,
            elapsed_seconds=round(elapsed, 3),
            canary_requests=canary.requests - watch.canary.requests,
            canary_failures=canary.failures - watch.canary.failures,
            baseline_requests=baseline.requests - watch.baseline.requests,
            baseline_failures=baseline.failures - watch.baseline.failures,
            median_ratios=tuple(watch.medians.ratios),
            p95_ratios=tuple(watch.p95s.ratios),
        )
    )
    summary = explaining.canary(judgement)
    events: list[DeploymentEvent] = [CanaryJudged(deployment_id=id, judgement=judgement, summary=summary)]
    if judgement.verdict is CanaryVerdict.ROLL_BACK:
        events.append(rollout.rolled_back(state, id, RollbackCause.CANARY, summary))
    elif judgement.verdict is CanaryVerdict.ADVANCE:
        weight = next(rollout.weights_left(state))
        events.append(rollout.stepped(under_way, id, 1, weight, "the canary is no worse than the revision in place"))
    return events


def ends(event: DeploymentEvent) -> bool:
    """Whether it ends the rollout under way."""
    return isinstance(event, RolloutRolledBack | RolloutCompleted)
