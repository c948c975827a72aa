"""Given a deployment, when it is created, updated, scaled and terminated, then its revisions and replicas follow."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.common import CommandRejected, ErrorCode
from events.language.deployments.commands import (
    CreateDeployment,
    ScaleDeployment,
    TerminateDeployment,
    UndoRollout,
    UpdateDeployment,
)
from events.language.deployments.enums import DeploymentStatus, RolloutStrategy
from events.language.deployments.events import (
    DeploymentUpdated,
    ReplicaEnded,
    ReplicaRequested,
    ReplicaUnready,
    RevisionCreated,
    RevisionRejected,
    RevisionResolved,
    RolloutRolledBack,
    RoutingChanged,
)
from events.language.deployments.models import DeploymentSpec, DeploymentTarget, ModelChoice, RolloutPolicy
from events.language.deployments.moves import DEPLOYMENT_MOVES
from events.language.deployments.serving import ServingSpec
from events.language.experiments.registry.models import ModelFormat
from events.language.jobs import CancelJob, ExitReason, SubmitJob
from events.language.jobs.spec import RestartMode
from events.language.jobs.spec_service import ProbeKind
from events.language.moves import may_move
from events.log.ids import id_ending
from events.process.exit_message import EXIT_PERMANENT
from services.deployments.status import first_move
from tests.unit.deployments.desk import (
    ID,
    Desk,
    command_spec,
    draining,
    names,
    refusal,
    released,
    requested,
    statuses,
    tables,
    version,
)

S = DeploymentStatus
ELSEWHERE = "acme/vision"


def running(**fields: Any) -> Desk:
    desk = Desk()
    desk.create(command_spec(**fields))
    desk.all_ready(1)
    assert desk.status is S.RUNNING
    return desk


def test_a_deployment_of_a_command_gets_its_replicas_at_once() -> None:
    desk = Desk()
    events = desk.create()
    assert names(events) == [
        "DeploymentCreated",
        "RevisionCreated",
        "RevisionResolved",
        "RolloutStarted",
        "ReplicaRequested",
        "ReplicaRequested",
        "RoutingChanged",
        "DeploymentStatusChanged",
    ]
    assert requested(events) == [(1, 1), (1, 2)]
    assert statuses(events) == ["deploying"]
    assert statuses(desk.ready(1)) == []
    assert statuses(desk.ready(2)) == ["running"]


def test_a_deployment_that_is_to_have_no_replica_runs_at_once() -> None:
    desk = Desk()
    assert statuses(desk.create(command_spec(replicas=0))) == ["deploying", "running"]


def test_a_replica_is_a_job_that_knows_what_it_is() -> None:
    desk = Desk()
    spec = command_spec(args=["--fast"], target=DeploymentTarget(queue="gpu", region="eu"), labels={"team": "a"})
    first = next(event for event in desk.create(spec) if isinstance(event, ReplicaRequested))
    assert first.job_id == "dep.digits.1.1"
    assert (first.spec.command, first.spec.args, first.spec.queue) == ("serve-digits", ("--fast",), "gpu")
    assert first.spec.scheduling.node_selector == {"region": "eu"}
    assert first.spec.scheduling.restart.mode is RestartMode.ALWAYS
    labels = {"team": "a", "forgelog/deployment": "digits", "forgelog/revision": "1"}
    assert first.spec.metadata.labels == labels
    service = first.spec.service
    assert service is not None
    assert (service.ports, service.drain_seconds) == (("http",), 5.0)
    assert service.readiness is not None
    assert service.readiness.kind is ProbeKind.TCP
    assert first.spec.environment.variables == {
        "FORGELOG_DEPLOYMENT": "digits",
        "FORGELOG_REVISION": "1",
        "FORGELOG_REPLICA": "1",
    }
    assert desk.orders(first)[0].command == SubmitJob(job_id="dep.digits.1.1", spec=first.spec)


def test_a_deployment_of_a_model_waits_until_its_version_is_known() -> None:
    desk = Desk()
    spec = DeploymentSpec(model=ModelChoice(name="digits", alias="champion"), replicas=1)
    created = desk.create(spec)
    assert names(created) == ["DeploymentCreated", "RevisionCreated", "RoutingChanged"]
    (question,) = desk.orders(created[1])
    assert (question.context, question.method) == ("experiments", "GetModelVersion")
    assert (question.request.project, question.request.name, question.request.alias) == (
        "local/default",
        "digits",
        "champion",
    )
    resolved = desk.resolve(1, version(3))
    assert names(resolved)[:3] == ["RevisionResolved", "RolloutStarted", "ReplicaRequested"]
    job = next(event for event in resolved if isinstance(event, ReplicaRequested)).spec
    assert (job.command, job.args) == ("sh", ("-c", 'exec "$FORGELOG_PYTHON" -m forgelog.serve'))
    assert job.service is not None
    assert job.service.ports == ("http", "grpc")
    paths = [probe.path for probe in (job.service.startup, job.service.readiness, job.service.liveness) if probe]
    assert paths == ["/v2/health/ready", "/v2/health/ready", "/v2/health/live"]
    serving = ServingSpec.model_validate_json(job.environment.variables["FORGELOG_SERVING"])
    assert (serving.deployment_id, serving.revision) == ("digits", 1)
    assert (serving.model.name, serving.model.version, serving.model.version_id) == ("digits", 3, "v3")


def test_a_model_that_there_is_not_fails_the_deployment_and_a_later_update_saves_it() -> None:
    desk = Desk()
    desk.create(DeploymentSpec(model=ModelChoice(name="digits", number=9)))
    rejected = desk.resolve(1, problem="digits/9: there is no such version")
    assert names(rejected) == ["RevisionRejected", "DeploymentStatusChanged", "RoutingChanged"]
    assert rejected[1].status is S.FAILED  # type: ignore[attr-defined]
    assert rejected[1].reason == "digits/9: there is no such version"  # type: ignore[attr-defined]
    assert tables(rejected)[-1].cold_start_seconds == 0  # no replica is expected, so no request waits for one
    updated = desk.update("serve-digits")
    assert statuses(updated) == ["updating"]
    assert tables(updated)[-1].cold_start_seconds == 60
    assert statuses(desk.all_ready(2)) == ["running"]


def test_an_answer_that_comes_late_changes_nothing() -> None:
    desk = Desk()
    desk.create(DeploymentSpec(model=ModelChoice(name="digits", number=9)))
    desk.update("serve-digits")
    assert desk.resolve(1, version(9)) == []


def test_a_model_whose_server_could_not_be_told_of_it_is_rejected() -> None:
    desk = Desk()
    long = "x" * 32_000
    spec = DeploymentSpec(
        model=ModelChoice(name="digits"),
        serving={
            "processing": {"pre": long, "post": long},
            "trusted_types": [f"a{i}." + "b" * 240 for i in range(400)],
        },
    )
    desk.create(spec)
    (rejected, *_) = desk.resolve(1, version())
    assert isinstance(rejected, RevisionRejected)
    assert "shorten the scripts" in rejected.reason


@pytest.mark.parametrize(
    ("format", "serving", "words"),
    [
        ("saved_model", {}, "digits/3 is in the format saved_model, which no runtime serves by itself"),
        ("safetensors", {}, "python with class_name, or command with backend"),
        ("pickle", {}, "digits/3 is a pickle: to load it runs what its author wrote"),
        ("pickle", {"runtime": {"name": "sklearn"}}, "forgelog deploy --trust-pickle"),
        ("pickle", {"trust_pickle": True}, ""),
        ("safetensors", {"file": "model.onnx"}, ""),
        ("safetensors", {"runtime": {"name": "python", "class_name": "model:Model"}}, ""),
        ("onnx", {"runtime": {"name": "onnx", "class_name": "model:Model"}}, "a class is for the runtime python"),
        ("onnx", {"runtime": {"class_name": "model:Model"}}, ""),
        ("other", {}, ""),
    ],
)
def test_a_version_that_no_runtime_serves_is_rejected_with_what_to_do(
    format: str, serving: dict[str, Any], words: str
) -> None:
    # given a deployment whose version is looked up
    desk = Desk()
    desk.create(DeploymentSpec(model=ModelChoice(name="digits"), serving=serving))
    # when the version turns out to have this format
    (first, *_) = desk.resolve(1, version().model_copy(update={"model_format": ModelFormat(format)}))
    # then it is rejected with these words, or resolved
    assert isinstance(first, RevisionRejected if words else RevisionResolved)
    assert words in getattr(first, "reason", "")


def test_its_id_follows_from_its_name_and_project() -> None:
    desk = Desk(ELSEWHERE)
    first = desk.create()[0]
    assert first.subject() == f"digits{id_ending(ELSEWHERE)}"
    wrong = refusal(Desk(), CreateDeployment(deployment_id="other", name="digits", spec=command_spec()))
    assert wrong.code is ErrorCode.INVALID_ARGUMENT
    assert wrong.message == "is 'other', and deployment digits has the id digits; leave it out"


def test_a_name_is_given_once_until_its_deployment_has_ended() -> None:
    desk = running()
    again = CreateDeployment(name="digits", spec=command_spec())
    assert refusal(desk, again).code is ErrorCode.ALREADY_EXISTS
    desk.send(TerminateDeployment(deployment_id=ID))
    assert refusal(desk, again).code is ErrorCode.ALREADY_EXISTS
    desk.wait(5)
    desk.all_released()
    assert desk.status is S.TERMINATED
    events = desk.send(again)
    assert requested(events) == [(2, 3), (2, 4)], "no number is given twice"
    assert desk.state.table is not None
    assert not desk.state.table.terminated


def test_terminating_drains_releases_and_ends() -> None:
    desk = running()
    events = desk.send(TerminateDeployment(deployment_id=ID, reason="not needed"))
    assert names(events) == [
        "TerminationRequested",
        "ReplicaDraining",
        "ReplicaDraining",
        "RoutingChanged",
        "DeploymentStatusChanged",
    ]
    assert desk.send(TerminateDeployment(deployment_id=ID)) == []
    gone = desk.wait(5)
    assert names(gone) == ["ReplicaReleased", "ReplicaReleased"]
    cancelled = desk.orders(gone[0])[0].command
    assert isinstance(cancelled, CancelJob)
    assert cancelled.job_id == "dep.digits.1.1"
    problem = refusal(desk, ScaleDeployment(deployment_id=ID, replicas=3))
    assert problem.message == "deployment digits is being terminated; wait, and create it again"
    assert statuses(desk.cancelled(1)) == []
    assert statuses(desk.cancelled(2)) == ["terminated"]
    assert refusal(desk, ScaleDeployment(deployment_id=ID, replicas=3)).code is ErrorCode.NOT_FOUND


def test_a_job_that_had_ended_by_itself_need_not_be_cancelled() -> None:
    desk = running()
    desk.send(TerminateDeployment(deployment_id=ID))
    desk.wait(5)
    refused = CommandRejected(
        subject_id="dep.digits.1.1",
        command_id="o1",
        command_type=CancelJob.type_name(),
        code=ErrorCode.FAILED_PRECONDITION,
        message="job is over",
    )
    found = desk.decider.refused(desk.state, refused, desk.context())
    assert found == [
        ReplicaEnded(deployment_id=ID, replica=1, job_id="dep.digits.1.1", reason="its job had ended: job is over")
    ]


def test_scaling_orders_and_drains_replicas() -> None:
    desk = running()
    events = desk.send(ScaleDeployment(deployment_id=ID, replicas=3))
    assert requested(events) == [(1, 3)]
    assert statuses(events) == ["scaling"]
    assert statuses(desk.ready(3)) == ["running"]
    down = desk.send(ScaleDeployment(deployment_id=ID, replicas=1))
    assert draining(down) == [3, 2], "the newest go first"
    assert statuses(down) == []
    assert desk.send(ScaleDeployment(deployment_id=ID, replicas=1)) == []
    none = desk.send(ScaleDeployment(deployment_id=ID, replicas=0))
    assert draining(none) == [1]
    assert desk.status is S.RUNNING, "also without replicas, if none are wanted"


def test_what_replicas_are_not_made_of_changes_at_once() -> None:
    desk = running()
    (updated,) = desk.update("serve-digits", description="for the shop")
    assert isinstance(updated, DeploymentUpdated)
    assert updated.changed == ("description",)
    assert desk.update("serve-digits", description="for the shop") == []


def test_an_update_that_was_made_of_an_older_state_is_refused() -> None:
    desk = running()
    desk.update("serve-digits-2")
    late = UpdateDeployment(deployment_id=ID, spec=command_spec("serve-digits-3"), based_on=1)
    assert refusal(desk, late).code is ErrorCode.ABORTED


def test_an_alias_that_means_the_same_version_makes_nothing_anew() -> None:
    desk = Desk()
    spec = DeploymentSpec(model=ModelChoice(name="digits", alias="champion"))
    desk.create(spec)
    desk.resolve(1, version(3))
    desk.all_ready(1)
    assert desk.send(UpdateDeployment(deployment_id=ID, spec=spec)) == []
    again = UpdateDeployment(deployment_id=ID, spec=spec, renew=True)
    assert names(desk.send(again)) == ["RevisionCreated"]
    (rejected,) = desk.resolve(2, version(3))
    assert isinstance(rejected, RevisionRejected)
    assert rejected.reason == "revision 1 serves digits/3 already"
    desk.send(again)
    assert "RolloutStarted" in names(desk.resolve(3, version(4)))


def test_rolling_replaces_one_by_one_and_never_has_too_few() -> None:
    desk = running()
    events = desk.update("serve-digits-2")
    created = events[0]
    assert isinstance(created, RevisionCreated)
    assert (created.revision, created.changed) == (2, ("command",))
    assert requested(events) == [(2, 3)], "one more than wanted"
    assert statuses(events) == ["updating"]
    assert draining(events) == []
    events = desk.ready(3)
    assert draining(events) == [2]
    assert requested(events) == [], "the draining one counts until it is released"
    events = desk.wait(5)
    assert (released(events), requested(events)) == ([2], [(2, 4)])
    events = desk.ready(4)
    assert draining(events) == [1]
    assert "RolloutCompleted" in names(events)
    assert desk.status is S.RUNNING
    assert desk.live() == {2: [3, 4]}


def test_replicas_that_never_get_ready_are_rolled_back_at_the_deadline() -> None:
    desk = running()
    desk.update("serve-digits-2", rollout=RolloutPolicy(progress_deadline_seconds=60))
    events = desk.wait(61)
    (back,) = [event for event in events if isinstance(event, RolloutRolledBack)]
    assert (back.revision, back.to_revision, back.cause) == (2, 1, "deadline")
    assert draining(events) == [3]
    assert desk.status is S.RUNNING
    assert desk.live() == {1: [1, 2]}


def test_replicas_that_crash_are_rolled_back_at_the_limit() -> None:
    desk = running()
    desk.update("serve-digits-2")
    for _ in range(2):
        events = desk.crash(3)
        assert any(isinstance(event, ReplicaUnready) and event.crashed for event in events)
        desk.ready(3)
        desk.hear(desk.silent(3))
    job = desk.replica(3).job_id
    events = desk.crash(3)
    (back,) = [event for event in events if isinstance(event, RolloutRolledBack)]
    told = "processes of its replicas have ended 3 times; the last time: its process ended with exit code 3"
    more = f"; 'forgelog logs {job}' shows its output"
    assert (back.cause, back.reason) == ("crashes", told + more)
    assert desk.state.stable == 1


UNKNOWN = "runtime.name: 'fortran' is none; there are command, onnx"


def test_a_model_that_can_not_be_served_is_tried_once() -> None:
    desk = Desk()
    desk.create(DeploymentSpec(model=ModelChoice(name="digits"), replicas=2))
    desk.resolve(1, version())
    desk.hear(desk.started(1))
    events = desk.crash(1, UNKNOWN, EXIT_PERMANENT)
    (back,) = [event for event in events if isinstance(event, RolloutRolledBack)]
    assert back.reason.startswith("it can't be served: its process ended with exit code 78: runtime.name: 'fortran' is")
    assert (back.cause, statuses(events), desk.live()) == ("crashes", ["failed"], {})
    assert requested(desk.wait(600)) == []


def test_what_is_tried_again() -> None:
    """Another end of a model server; a program of the user's, whose exit codes are its own; and a revision of which a
    replica got ready: something else than the model is wrong then."""
    model, program = DeploymentSpec(model=ModelChoice(name="digits"), replicas=2), command_spec()
    for spec, code, ready in ((model, 1, ()), (program, EXIT_PERMANENT, ()), (model, EXIT_PERMANENT, (2,))):
        desk = Desk()
        desk.create(spec)
        if spec is model:
            desk.resolve(1, version())
        desk.ready(*ready)
        desk.hear(desk.started(1))
        assert not [event for event in desk.crash(1, code=code) if isinstance(event, RolloutRolledBack)]


def test_a_job_that_is_not_taken_ends_the_rollout_at_once() -> None:
    desk = running()
    desk.update("serve-digits-2")
    refused = CommandRejected(
        subject_id="dep.digits.2.3",
        command_id="o1",
        command_type=SubmitJob.type_name(),
        code=ErrorCode.INVALID_ARGUMENT,
        message="queue: there is none",
    )
    events = desk.take(desk.decider.refused(desk.state, refused, desk.context()))
    (back,) = [event for event in events if isinstance(event, RolloutRolledBack)]
    assert (back.cause, back.reason) == ("refused", "its job was refused: queue: there is none")
    assert requested(desk.wait(60)) == []


def test_a_first_rollout_that_fails_leaves_nothing() -> None:
    desk = Desk()
    desk.create(command_spec(rollout=RolloutPolicy(crash_limit=1)))
    desk.ready(1)
    events = desk.crash(2)
    assert statuses(events) == ["failed"]
    assert desk.live() == {}


def test_a_replica_whose_process_is_lost_is_no_crash() -> None:
    desk = running()
    lost, routing = desk.hear(desk.exited(1, ExitReason.LOST))
    assert isinstance(routing, RoutingChanged)
    assert [len(revision.replicas) for revision in routing.table.revisions] == [1]
    assert isinstance(lost, ReplicaUnready)
    assert not lost.crashed
    assert statuses(desk.wait(10)) == ["degraded"]
    assert statuses(desk.ready(1)) == ["running"]


def test_a_deployment_without_a_ready_replica_fails_in_the_end_and_comes_back() -> None:
    desk = running(replicas=1, rollout=RolloutPolicy(progress_deadline_seconds=60))
    desk.crash(1)
    assert statuses(desk.wait(60)) == ["degraded", "failed"]
    assert statuses(desk.ready(1)) == ["running"]


def test_a_job_that_ends_is_replaced_ever_later() -> None:
    desk = running(replicas=1)
    assert requested(desk.cancelled(1)) == []
    assert requested(desk.wait(1)) == [(1, 2)]
    desk.cancelled(2)
    assert requested(desk.wait(1)) == []
    assert requested(desk.wait(1)) == [(1, 3)]


def test_undoing_a_rollout_under_way_brings_back_what_was() -> None:
    desk = running()
    desk.update("serve-digits-2")
    desk.ready(3)
    events = desk.send(UndoRollout(deployment_id=ID, reason="too slow"))
    (back,) = [event for event in events if isinstance(event, RolloutRolledBack)]
    assert (back.cause, back.reason) == ("requested", "too slow")
    desk.wait(10)
    desk.all_ready(1)
    assert desk.status is S.RUNNING
    assert set(desk.live()) == {1}


def test_undoing_a_complete_rollout_makes_a_revision_like_the_one_before() -> None:
    desk = running(description="old")
    desk.update("serve-digits-2", replicas=1, description="new")
    desk.wait(5)
    desk.ready(3)
    desk.wait(5)
    assert desk.state.stable == 2
    created = desk.send(UndoRollout(deployment_id=ID))[0]
    assert isinstance(created, RevisionCreated)
    assert (created.revision, created.source_revision, created.changed) == (3, 1, ("command",))
    assert (created.spec.command, created.spec.replicas, created.spec.description) == ("serve-digits", 1, "new")
    assert desk.orders(created) == [], "it is known what it serves"


def test_there_may_be_nothing_to_undo() -> None:
    desk = running()
    assert refusal(desk, UndoRollout(deployment_id=ID)).message.startswith("deployment digits has no earlier revision")
    missing = refusal(desk, UndoRollout(deployment_id=ID, to_revision=7))
    assert missing.errors[0].hint == "those kept are 1"


def test_a_newer_revision_takes_the_place_of_one_under_way() -> None:
    desk = running()
    desk.update("serve-digits-2")
    events = desk.update("serve-digits-3")
    assert [event.cause for event in events if isinstance(event, RolloutRolledBack)] == ["superseded"]
    assert desk.state.rollout is not None
    assert (desk.state.rollout.revision, desk.state.rollout.from_revision) == (3, 1)
    assert 3 in released(events), "it had never been ready, so nothing is waited for"


def test_a_deployment_may_begin_without_replicas() -> None:
    desk = Desk()
    assert statuses(desk.create(command_spec(replicas=0))) == ["deploying", "running"]


def test_every_status_is_reached_by_allowed_moves() -> None:
    for old in set(S) - {S.TERMINATED}:
        reached = {S.TERMINATED} if old is S.TERMINATING else set(S) - {S.PENDING, S.DEPLOYING, old}
        for new in reached:
            status, moves = old, 0
            while status is not new:
                step = first_move(status, new)
                assert may_move(DEPLOYMENT_MOVES, status, step)
                status, moves = step, moves + 1
            assert moves <= 3


@pytest.mark.parametrize("strategy", list(RolloutStrategy))
def test_a_first_revision_has_nothing_to_replace(strategy: RolloutStrategy) -> None:
    desk = Desk()
    desk.create(command_spec(rollout=RolloutPolicy(strategy=strategy)))
    assert statuses(desk.all_ready(1)) == ["running"]
