"""Given what a deployment decided, then the table of reasons says it with its numbers and in words."""

from __future__ import annotations

from typing import Any

from events.language.deployments.alerts import AlertSettings
from events.language.deployments.answers import Deployment
from events.language.deployments.canary import CanaryJudgement
from events.language.deployments.commands import ScaleDeployment, UndoRollout
from events.language.deployments.events import DeploymentStatusChanged
from events.language.deployments.reasons import DeploymentReasons
from events.language.deployments.scaling import ScalingDecision
from events.language.deployments.steering import SetAlerts
from events.log.envelope import Meta, Position, Recorded
from services.deployments.canary.judging import judge
from services.deployments.projections import DeploymentsProjection
from services.deployments.reasons import REASONS
from services.deployments.rows import DEPLOYMENTS
from services.deployments.scaling.deciding import decide
from tests.rows import HeldRows
from tests.unit.deployments.desk import ID, Desk, command_spec, statuses
from tests.unit.deployments.test_steering import ZERO, alerts, canary, served


def row(desk: Desk) -> dict[str, Any]:
    """The reasons of all that a desk has decided, folded; the deployment's own row comes along."""
    projection = DeploymentsProjection()
    rows = HeldRows(projection)
    for number, event in enumerate(desk.events):
        meta = Meta("e", type(event).type_name(), event.subject(), desk.now, desk.project, "owner")
        recorded = Recorded(event, meta, ID, Position("events.deployments", 0, number))
        touched = {(table.name, key) for table, key in projection.touches(recorded)}
        projection.project(recorded, rows)
        assert (REASONS.name, (ID,)) in touched or rows.get(REASONS, (ID,)) is not None
    deployment = rows.get(DEPLOYMENTS, (ID,))
    assert deployment is not None
    Deployment.model_validate(deployment)
    assert deployment["wanted"] == desk.state.wanted
    found = rows.get(REASONS, (ID,))
    assert found is not None
    DeploymentReasons.model_validate(found)
    return found


def test_the_last_change_by_the_load_and_what_holds_now() -> None:
    desk = served(scaling=ZERO, replicas=2)
    desk.serve(650, rps=10)
    found = row(desk)
    decision = ScalingDecision.model_validate(found["scaling"])
    assert decide(decision.inputs) == decision
    assert (decision.inputs.replicas, decision.replicas) == (2, 1)
    assert found["replicas_reason"].startswith("2 → 1 replica: 10 requests/s need 0.2 at 50 a replica")
    assert found["standing_summary"] == "1 replica: 10 requests/s need 0.2 at 50 a replica"


def test_why_it_does_not_go_to_zero() -> None:
    desk = served(scaling=ZERO.model_copy(update={"idle_seconds": 900}))
    desk.serve(320)
    assert row(desk)["standing_summary"] == (
        "1 replica: 0 requests/s need 0 at 50 a replica; the last replica goes after 900 s without a request, "
        "and the last one was 300 s ago"
    )


def test_a_change_by_hand() -> None:
    desk = served()
    desk.send(ScaleDeployment(deployment_id=ID, replicas=3))
    assert row(desk)["replicas_reason"] == "1 → 3 replicas: it was asked for"
    desk.send(ScaleDeployment(deployment_id=ID, replicas=2, reason="costs"))
    assert row(desk)["replicas_reason"] == "costs"


def test_what_a_process_said_of_its_end_is_said_by_all_that_tell_of_the_deployment() -> None:
    desk = Desk()
    desk.create(command_spec(replicas=1))
    for _ in range(3):
        desk.hear(desk.started(1))
        desk.crash(1, "model.pkl is a pickle")
    ended = "its process ended with exit code 3: model.pkl is a pickle; 'forgelog logs dep.digits.1.1' shows its output"
    found = row(desk)
    assert found["crash_reason"] == f"replica 1: {ended}"
    assert ended in found["rollout_reason"]
    assert ended in desk.state.trouble
    assert statuses(desk.events)[-1] == "failed"


def test_why_too_few_replicas_are_ready_until_they_are() -> None:
    desk = Desk()
    desk.create(command_spec(replicas=1))
    desk.ready(1)
    desk.crash(1, "x" * 2_000)
    desk.hear(desk.started(1))
    changed = [event for event in desk.wait(20) if isinstance(event, DeploymentStatusChanged)]
    assert [each.status.value for each in changed] == ["degraded"]
    assert changed[0].reason.startswith("0 of 1 replicas are ready; replica 1: its process ended with exit code 3: xxx")
    assert changed[0].reason.endswith("'forgelog logs dep.digits.1.1' shows its output")
    desk.hear(desk.answers(1))
    assert desk.replica(1).problem == ""


def test_a_deadline_that_passed_says_where_to_look() -> None:
    desk = Desk()
    desk.create(command_spec(replicas=1))
    desk.wait(601)
    late = "no replica of it got ready for 600 seconds"
    assert desk.state.trouble == (
        f"{late}; replica 1 has no process; 'forgelog why dep.digits.1.1' says what it waits for"
    )
    desk.update("another", replicas=1)
    desk.hear(desk.started(2))
    desk.wait(601)
    assert desk.state.trouble == (
        f"{late}; replica 2 runs and says not that it is ready; 'forgelog logs dep.digits.2.2' shows its output"
    )


def test_why_a_canary_went_back() -> None:
    desk = canary()
    desk.serve(61, of={1: (80, 0, 10), 2: (20, 5, 10)})
    found = row(desk)
    judgement = CanaryJudgement.model_validate(found["judgement"])
    assert judge(judgement.evidence) == judgement
    assert found["rollout_reason"] == f"revision 2 was rolled back (canary): {found['judgement_summary']}"
    assert "failures +25 points (at least +" in found["judgement_summary"]


def test_what_a_rollout_did_last() -> None:
    desk = canary()
    assert row(desk)["rollout_reason"] == "revision 2 is to get 20 % of requests: it begins"
    desk.send(UndoRollout(deployment_id=ID, reason="too early"))
    assert row(desk)["rollout_reason"] == "revision 2 was rolled back (requested): too early"


def test_alerts_that_fire() -> None:
    desk = served(alerts=alerts())
    desk.serve(15, rps=10, failing=10)
    (firing,) = row(desk)["firing"]
    assert firing["summary"] == "broken: 100 % of requests failed, above 5, in 1 window of 10 s"
    desk.send(SetAlerts(deployment_id=ID, settings=AlertSettings()))
    desk.pass_to(10)
    assert row(desk)["firing"] == []
