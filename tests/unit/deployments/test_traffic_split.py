"""Given ready replicas of one revision or of two, then requests go to them by the rollout's strategy, or as was set."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.common import ErrorCode
from events.language.deployments.canary import CanaryPolicy
from events.language.deployments.commands import (
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    ScaleDeployment,
    SetTraffic,
    TerminateDeployment,
    UndoRollout,
)
from events.language.deployments.enums import DeploymentStatus, RolloutStrategy
from events.language.deployments.models import ModelChoice, RevisionWeight, RolloutPolicy, TrafficRules
from events.language.deployments.routing import RoutingRule, RuleSource, ShadowTraffic
from tests.unit.deployments.desk import ID, Desk, command_spec, draining, names, refusal, requested, tables, version

BLUE_GREEN = RolloutPolicy(strategy=RolloutStrategy.BLUE_GREEN, undo_seconds=60)
CANARY = RolloutPolicy(strategy=RolloutStrategy.CANARY, canary=CanaryPolicy(steps=(10, 50)))


def updated(replicas: int, policy: RolloutPolicy, **fields: Any) -> Desk:
    """Revision 1 is in place, and revision 2 is on its way."""
    desk = Desk()
    desk.create(command_spec(replicas=replicas, rollout=policy))
    desk.all_ready(1)
    desk.update("serve-digits-2", replicas=replicas, rollout=policy, **fields)
    return desk


def weights(desk: Desk) -> dict[int, int]:
    assert desk.state.table is not None
    return {each.revision: each.weight for each in desk.state.table.revisions}


def weight(revision: int, share: int) -> SetTraffic:
    return SetTraffic(deployment_id=ID, weights=(RevisionWeight(revision=revision, weight=share),))


def test_what_is_ready_is_routed_to_and_nothing_else() -> None:
    desk = Desk()
    (first,) = tables(desk.create(command_spec(replicas=2)))
    (awaited,) = first.revisions
    assert (first.number, awaited.revision, awaited.weight, awaited.replicas) == (1, 1, 10_000, ())
    assert [(each.name, each.path, each.replica_port) for each in first.endpoints] == [("rest", "/", "http")]
    (one,) = tables(desk.ready(1))
    (revision,) = one.revisions
    assert (revision.revision, revision.weight, revision.model, revision.version) == (1, 10_000, "digits", 1)
    assert [(each.replica_id, each.address, each.ports) for each in revision.replicas] == [
        ("dep.digits.1.1", "10.0.0.1", {"http": 20_000})
    ]
    (two,) = tables(desk.ready(2))
    assert (two.number, len(two.revisions[0].replicas)) == (3, 2)
    (without,) = tables(desk.hear(desk.silent(1)))
    assert [each.replica_id for each in without.revisions[0].replicas] == ["dep.digits.1.2"]
    assert tables(desk.hear(desk.silent(1))) == []


def test_routers_know_what_a_deployment_without_a_replica_will_serve() -> None:
    """Else a request that comes before the first replica would ask it by a name that it does not know."""
    desk = Desk()
    desk.create(command_spec(replicas=0, model=ModelChoice(name="letters")))
    (table,) = tables(desk.resolve(1, version()))
    (awaited,) = table.revisions
    assert (awaited.revision, awaited.weight, awaited.model, awaited.replicas) == (1, 10_000, "digits", ())
    (ready,) = tables(desk.send(ScaleDeployment(deployment_id=ID, replicas=1)) + desk.ready(1))
    assert (ready.revisions[0].weight, len(ready.revisions[0].replicas)) == (10_000, 1)
    assert tables(desk.hear(desk.silent(1)))[-1].revisions == (awaited,)


def test_a_replica_that_goes_is_left_out_before_it_ends() -> None:
    desk = Desk()
    desk.create(command_spec(replicas=2))
    desk.all_ready(1)
    events = desk.send(ScaleDeployment(deployment_id=ID, replicas=1))
    assert names(events) == ["DeploymentScaled", "ReplicaDraining", "RoutingChanged"]
    assert "ReplicaReleased" in names(desk.wait(5))


def test_routers_forget_a_terminated_deployment_at_once() -> None:
    desk = Desk()
    desk.create()
    desk.all_ready(1)
    (table,) = tables(desk.send(TerminateDeployment(deployment_id=ID)))
    assert (table.terminated, table.revisions, table.endpoints) == (True, (), ())


def test_rolling_shares_requests_by_ready_replicas() -> None:
    desk = updated(2, RolloutPolicy(max_surge=1))
    assert weights(desk) == {1: 10_000}
    desk.ready(3)
    assert weights(desk) == {1: 5_000, 2: 5_000}, "of three, one drains"


def test_blue_green_switches_at_once_and_undoes_at_once() -> None:
    desk = updated(2, BLUE_GREEN)
    assert desk.live() == {1: [1, 2], 2: [3, 4]}
    desk.ready(3)
    assert weights(desk) == {1: 10_000, 2: 0}
    desk.ready(4)
    assert weights(desk) == {1: 0, 2: 10_000}
    assert desk.status is DeploymentStatus.RUNNING
    assert draining(desk.wait(59)) == [], "the old replicas stay"
    events = desk.send(UndoRollout(deployment_id=ID))
    assert weights(desk) == {1: 10_000}
    assert draining(events) == [4, 3]
    assert len(tables(events)) == 1


def test_blue_green_lets_the_old_replicas_go_in_the_end() -> None:
    desk = updated(2, BLUE_GREEN)
    desk.all_ready(2)
    assert draining(desk.wait(60)) == [2, 1]
    assert desk.state.stable == 2


def test_blue_green_may_be_promoted_before_all_are_ready() -> None:
    desk = updated(2, BLUE_GREEN)
    assert refusal(desk, PromoteRollout(deployment_id=ID)).code is ErrorCode.FAILED_PRECONDITION
    desk.ready(3)
    desk.send(PromoteRollout(deployment_id=ID))
    assert weights(desk) == {1: 0, 2: 10_000}
    desk.send(PromoteRollout(deployment_id=ID))
    assert desk.state.stable == 2


def test_a_canary_gets_its_steps_as_it_is_promoted() -> None:
    desk = updated(4, CANARY)
    assert desk.live() == {1: [1, 2, 3, 4], 2: [5]}, "a tenth of four needs one"
    assert weights(desk) == {1: 10_000}
    desk.ready(5)
    assert weights(desk) == {1: 9_000, 2: 1_000}
    events = desk.send(PromoteRollout(deployment_id=ID))
    assert draining(events) == [4], "two of the new and three of the old, one more than wanted"
    assert weights(desk) == {1: 7_500, 2: 2_500}, "as much as the ready one stands for"
    assert requested(desk.wait(5)) == [(2, 6)]
    desk.ready(6)
    assert weights(desk) == {1: 5_000, 2: 5_000}
    desk.send(PromoteRollout(deployment_id=ID))
    for _ in range(4):
        desk.wait(5)
        desk.all_ready(2)
    assert desk.live() == {2: [5, 6, 7, 8]}
    assert desk.state.stable == 2


def test_a_canary_may_be_promoted_to_the_end_and_undone_at_any_step() -> None:
    desk = updated(2, CANARY)
    desk.ready(3)
    desk.send(PromoteRollout(deployment_id=ID, whole=True))
    assert desk.state.rollout is not None
    assert (desk.state.rollout.step, desk.state.rollout.weight) == (3, 10_000)
    desk.send(UndoRollout(deployment_id=ID))
    assert weights(desk) == {1: 10_000}


def test_weights_of_a_canary_are_set_by_hand_and_stay() -> None:
    desk = updated(4, CANARY)
    desk.ready(5)
    assert names(desk.send(weight(2, 2_000)))[:2] == ["RolloutPaused", "RolloutStepped"]
    assert weights(desk) == {1: 8_000, 2: 2_000}
    desk.send(weight(1, 9_900))
    assert weights(desk) == {1: 9_900, 2: 100}
    assert desk.send(weight(1, 9_900)) == []
    assert tables(desk.wait(10_000)) == []
    desk.send(weight(2, 0))
    assert desk.live()[2] == [5], "one stays for rules"
    desk.send(PromoteRollout(deployment_id=ID))
    assert weights(desk) == {1: 9_000, 2: 1_000}


def test_weights_are_a_canary_s() -> None:
    desk = Desk()
    desk.create()
    desk.all_ready(1)
    assert refusal(desk, weight(1, 5_000)).message.startswith("deployment digits has no canary under way")
    desk = updated(2, CANARY)
    assert refusal(desk, weight(7, 5_000)).errors[0].hint == "those that have are 1, 2"


@pytest.mark.parametrize("shares", [[(1, 10_000), (2, 1)], [(1, 10), (2, 10)], [(1, 10), (1, 20)]])
def test_weights_are_the_whole_together(shares: list[tuple[int, int]]) -> None:
    with pytest.raises(ValidationError):
        SetTraffic(deployment_id=ID, weights=[RevisionWeight(revision=one, weight=share) for one, share in shares])


def test_rules_and_a_shadow_are_told_to_routers() -> None:
    desk = updated(2, CANARY)
    desk.ready(3)
    rule = RoutingRule(source=RuleSource.HEADER, key="x-group", value="beta", revision=2)
    rules = TrafficRules(rules=(rule,), shadow=ShadowTraffic(revision=2, weight=500))
    (table,) = tables(desk.send(SetTraffic(deployment_id=ID, rules=rules)))
    assert (table.rules, table.shadow) == ((rule,), rules.shadow)
    assert desk.send(SetTraffic(deployment_id=ID, rules=rules)) == []
    unknown = TrafficRules(rules=(rule.model_copy(update={"revision": 9}),))
    assert refusal(desk, SetTraffic(deployment_id=ID, rules=unknown)).errors[0].field == "rules.rules.0.revision"
    (table,) = tables(desk.send(SetTraffic(deployment_id=ID, rules=TrafficRules())))
    assert (table.rules, table.shadow) == ((), None)


def test_a_paused_rollout_takes_no_step_until_it_is_resumed() -> None:
    desk = updated(2, RolloutPolicy())
    desk.ready(3)
    desk.send(PauseRollout(deployment_id=ID))
    assert desk.send(PauseRollout(deployment_id=ID)) == []
    assert requested(desk.wait(5)) == []
    assert weights(desk) == {1: 5_000, 2: 5_000}
    assert requested(desk.send(ResumeRollout(deployment_id=ID))) == [(2, 4)]
    assert desk.send(ResumeRollout(deployment_id=ID)) == []


def test_without_a_rollout_there_is_nothing_to_steer() -> None:
    desk = Desk()
    desk.create()
    desk.all_ready(1)
    for command in (PauseRollout, ResumeRollout, PromoteRollout):
        assert refusal(desk, command(deployment_id=ID)).code is ErrorCode.FAILED_PRECONDITION
