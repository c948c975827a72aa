"""What `SetTraffic` does: weights of a canary by hand, rules and a shadow. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.common import absent
from events.language.deployments.commands import SetTraffic
from events.language.deployments.enums import RolloutStrategy
from events.language.deployments.events import DeploymentEvent, RolloutPaused, TrafficRulesSet
from events.language.deployments.models import RevisionWeight
from events.language.deployments.routing import WHOLE
from services.deployments import rollout
from services.deployments.refusals import forbidden
from services.deployments.state import Deployment

_BY_HAND = "weights were set by hand"


def split(state: Deployment, command: SetTraffic) -> Sequence[DeploymentEvent]:
    """Raises Refused for weights without a canary, and for a revision that the deployment does not have now."""
    events: list[DeploymentEvent] = []
    if command.rules is not None and command.rules != state.rules:
        for number, rule in enumerate(command.rules.rules):
            _known(state, f"rules.rules.{number}.revision", rule.revision)
        if command.rules.shadow is not None:
            _known(state, "rules.shadow.revision", command.rules.shadow.revision)
        events.append(TrafficRulesSet(deployment_id=command.deployment_id, rules=command.rules))
    return [*events, *_weighted(state, command)] if command.weights else events


def _known(state: Deployment, field: str, revision: int) -> None:
    there = [state.stable, *([state.rollout.revision] if state.rollout is not None else [])]
    if revision not in there:
        names = ", ".join(str(each) for each in there if each) or "none"
        raise absent(field, f"revision {revision} has no replicas now", f"those that have are {names}")


def _weighted(state: Deployment, command: SetTraffic) -> Sequence[DeploymentEvent]:
    id, canary = command.deployment_id, state.rollout
    if canary is None or canary.strategy is not RolloutStrategy.CANARY:
        problem = f"deployment {id} has no canary under way, so one revision has all requests"
        raise forbidden("weights", problem, "update it with rollout.strategy canary, or undo its rollout")
    for number, each in enumerate(command.weights):
        _known(state, f"weights.{number}.revision", each.revision)
    weight = _of(command.weights, canary.revision)
    if weight == canary.weight and canary.paused:
        return []
    paused = [] if canary.paused else [RolloutPaused(deployment_id=id, revision=canary.revision, reason=_BY_HAND)]
    return [*paused, rollout.stepped(canary, id, 1, weight, _BY_HAND)]


def _of(weights: Sequence[RevisionWeight], revision: int) -> int:
    """The weight that a revision gets; the rest if it is not named."""
    named = {each.revision: each.weight for each in weights}
    return named.get(revision, WHOLE - sum(named.values()))
