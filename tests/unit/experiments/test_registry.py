"""Given a project's models, when versions are published, checked and promoted, then only intact ones are live."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.base import Event
from events.language.common import PLATFORM_ACTOR, ErrorCode, Refused
from events.language.experiments.registry import (
    AliasRemoved,
    AliasSet,
    ApprovalRule,
    ApprovePromotion,
    CheckModelVersion,
    CreateModelVersion,
    DeleteModel,
    DeleteModelVersion,
    Derivation,
    EnvironmentCleared,
    EnvironmentSet,
    ModelAccess,
    ModelDeleted,
    ModelRegistered,
    ModelRenamed,
    ModelStage,
    ModelStageSet,
    ModelUpdated,
    ModelVersionChecked,
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionSpec,
    ModelVersionUpdated,
    ParentVersion,
    PromotionApproved,
    PromotionEnded,
    PromotionRequested,
    PromotionStatus,
    RegisterModel,
    RejectPromotion,
    RemoveAlias,
    RenameModel,
    ReportVersionChecked,
    RequestPromotion,
    SetAlias,
    SetEnvironment,
    SetModelStage,
    UpdateModel,
    UpdateModelVersion,
    VersionCheckRequested,
    VersionStatus,
)
from events.language.objects import ObjectRef
from tests.unit.experiments.desk import PROJECT, Desk, names

S = PromotionStatus
SPEC = ModelVersionSpec(bundle=ObjectRef(digest="1" * 64, size=9))
TWO = [ApprovalRule(environment="production", approvals=2, by_others=True)]


def create(id: str, **fields: Any) -> CreateModelVersion:
    return CreateModelVersion(version_id=id, model_id="md1", spec=SPEC.model_copy(update=fields))


def report(id: str, check: int = 1, problem: str = "") -> ReportVersionChecked:
    return ReportVersionChecked(version_id=id, check=check, intact=not problem, reason=problem, files=1, size_bytes=9)


def checked(desk: Desk, id: str, check: int = 1, problem: str = "") -> list[Event]:
    return desk.send(report(id, check, problem), actor=PLATFORM_ACTOR)


def registered(versions: int = 0, **fields: Any) -> Desk:
    """A registry with a model and so many verified versions, mv1, mv2 ..."""
    desk = Desk()
    desk.send(RegisterModel(model_id="md1", name="digits", **fields))
    for number in range(1, versions + 1):
        desk.send(create(f"mv{number}"))
        checked(desk, f"mv{number}")
    return desk


def refusal(desk: Desk, command: Any, actor: str = "owner") -> tuple[ErrorCode, str]:
    with pytest.raises(Refused) as caught:
        desk.send(command, actor=actor)
    return caught.value.code, caught.value.message


def test_a_model_is_registered_once_by_its_name() -> None:
    desk = registered(access=ModelAccess.PUBLIC, tags={"task": "vision"})
    (event,) = desk.events
    assert isinstance(event, ModelRegistered)
    assert (event.project, event.name, event.owner, event.access) == (PROJECT, "digits", "owner", ModelAccess.PUBLIC)
    taken = (ErrorCode.ALREADY_EXISTS, "there is a model 'digits' already")
    assert refusal(desk, RegisterModel(name="digits")) == taken


@pytest.mark.parametrize("name", ["a/b", "a:b", "a@b", "", " ", "a\nb", "x" * 201])
def test_a_name_has_no_sign_that_stands_before_a_version(name: str) -> None:
    with pytest.raises(ValidationError):
        RegisterModel(name=name)


@pytest.mark.parametrize("alias", ["", "a b", "a/b", "-a"])
def test_an_alias_is_a_word(alias: str) -> None:
    with pytest.raises(ValidationError):
        SetAlias(model_id="md1", alias=alias, number=1)


@pytest.mark.parametrize("alias", ["latest", "Latest", "v3", "V10"])
def test_an_alias_is_no_version_by_itself(alias: str) -> None:
    command = SetAlias(model_id="md1", alias=alias, number=1)
    problem = f"alias: {alias!r} means a version by itself"
    assert refusal(registered(versions=1), command) == (ErrorCode.INVALID_ARGUMENT, problem)


def test_versions_are_numbered_and_no_number_is_given_twice() -> None:
    desk = registered()
    (first,) = desk.send(create("mv1"))
    assert first == ModelVersionCreated(project=PROJECT, version_id="mv1", model_id="md1", number=1, spec=SPEC)
    assert desk.send(DeleteModelVersion(version_id="mv1")) == [
        ModelVersionDeleted(project=PROJECT, version_id="mv1", model_id="md1")
    ]
    (second,) = desk.send(create("mv2"))
    assert isinstance(second, ModelVersionCreated)
    assert second.number == 2


def test_no_number_is_given_twice_under_one_name_whichever_model_has_it() -> None:
    desk = registered(versions=2)
    desk.send(RenameModel(model_id="md1", name="numerals"))
    desk.send(RegisterModel(model_id="md2", name="digits"))
    (other,) = desk.send(CreateModelVersion(version_id="mv8", model_id="md2", spec=SPEC))
    assert isinstance(other, ModelVersionCreated)
    assert other.number == 3
    desk.send(DeleteModel(model_id="md2"))
    (back,) = desk.send(RenameModel(model_id="md1", name="digits"))
    assert back == ModelRenamed(project=PROJECT, model_id="md1", name="digits", number=3, latest=3)
    (again,) = desk.send(create("mv9"))
    assert isinstance(again, ModelVersionCreated)
    assert again.number == 4


@pytest.mark.parametrize(
    "command",
    [
        SetAlias(model_id="md1", alias="best", number=1),
        SetEnvironment(model_id="md1", environment="production", number=1),
        SetModelStage(version_id="mv1", stage=ModelStage.PRODUCTION),
        RequestPromotion(model_id="md1", environment="production", number=1),
    ],
)
def test_what_was_not_found_intact_is_live_nowhere(command: Any) -> None:
    desk = registered()
    desk.send(create("mv1"))
    pending = "version digits/1 is pending: its files have not been looked at yet; try again when it is verified"
    assert refusal(desk, command) == (ErrorCode.FAILED_PRECONDITION, pending)
    checked(desk, "mv1", problem="weights.bin: other bytes")
    damaged = (
        "version digits/1 is damaged: weights.bin: other bytes; restore its files and check it, or publish it anew"
    )
    assert refusal(desk, command) == (ErrorCode.FAILED_PRECONDITION, damaged)
    desk.send(CheckModelVersion(version_id="mv1"))
    checked(desk, "mv1", check=2)
    assert desk.send(command) != []


def test_only_the_platform_says_what_files_are_like_and_each_look_counts_once() -> None:
    desk = registered()
    desk.send(create("mv1"))
    assert refusal(desk, report("mv1"))[0] is ErrorCode.PERMISSION_DENIED
    assert names(checked(desk, "mv1")) == ["ModelVersionChecked"]
    assert checked(desk, "mv1", problem="gone") == []
    assert checked(desk, "mv9") == []


def test_an_alias_moves_and_each_time_it_means_a_version_is_numbered() -> None:
    desk = registered(versions=2)
    said = {"project": PROJECT, "model_id": "md1", "alias": "best"}
    assert desk.send(SetAlias(model_id="md1", alias="best", number=1)) == [
        AliasSet(**said, number=1, version_id="mv1", period=1)
    ]
    assert desk.send(SetAlias(model_id="md1", alias="best", number=1)) == []
    assert desk.send(SetAlias(model_id="md1", alias="best", number=2)) == [
        AliasSet(**said, number=2, version_id="mv2", period=2, ends=1)
    ]
    assert desk.send(RemoveAlias(model_id="md1", alias="best")) == [AliasRemoved(**said, ends=2)]
    assert refusal(desk, RemoveAlias(model_id="md1", alias="best"))[1] == "model digits has no alias 'best'"
    assert refusal(desk, SetAlias(model_id="md1", alias="best", number=3))[1] == "model digits has no version 3"


def test_an_environment_has_one_version_or_none() -> None:
    desk = registered(versions=2)
    desk.send(SetEnvironment(model_id="md1", environment="staging", number=1))
    (moved,) = desk.send(SetEnvironment(model_id="md1", environment="staging", number=2, reason="better"))
    assert isinstance(moved, EnvironmentSet)
    assert (moved.number, moved.ends, moved.actor, moved.reason) == (2, 1, "owner", "better")
    live = "version digits/2 is live in staging; set another one first"
    assert refusal(desk, DeleteModelVersion(version_id="mv2"))[1] == live
    gone = "version 2 of model digits is live in staging; clear that first"
    assert refusal(desk, DeleteModel(model_id="md1"))[1] == gone
    assert desk.send(SetEnvironment(model_id="md1", environment="staging")) == [
        EnvironmentCleared(project=PROJECT, model_id="md1", environment="staging", ends=2)
    ]


def test_a_stage_may_archive_those_that_had_it() -> None:
    desk = registered(versions=3)
    desk.send(SetModelStage(version_id="mv1", stage=ModelStage.PRODUCTION))
    desk.send(SetModelStage(version_id="mv2", stage=ModelStage.PRODUCTION))
    events = desk.send(SetModelStage(version_id="mv3", stage=ModelStage.PRODUCTION, archive_existing=True))
    assert [(each.number, each.stage.value, each.period, each.ends) for each in events] == [  # type: ignore[attr-defined]
        (3, "production", 3, 0),
        (1, "archived", 4, 1),
        (2, "archived", 5, 2),
    ]
    (none,) = desk.send(SetModelStage(version_id="mv1", stage=ModelStage.NONE))
    assert isinstance(none, ModelStageSet)
    assert (none.period, none.ends) == (0, 4)


def test_a_promotion_looks_at_the_files_once_more() -> None:
    desk = registered(versions=1)
    asked = desk.send(RequestPromotion(promotion_id="mp1", model_id="md1", environment="production", number=1))
    said = {"project": PROJECT, "model_id": "md1", "version_id": "mv1"}
    assert asked == [
        PromotionRequested(
            **said, promotion_id="mp1", number=1, environment="production", requested_by="owner", check=2
        ),
        VersionCheckRequested(**said, check=2),
    ]
    verdict, live, ended = checked(desk, "mv1", check=2)
    assert isinstance(verdict, ModelVersionChecked)
    assert isinstance(live, EnvironmentSet)
    assert (live.number, live.promotion_id, live.actor) == (1, "mp1", "owner")
    assert ended == PromotionEnded(project=PROJECT, promotion_id="mp1", status=S.COMPLETED)


def test_a_flipped_byte_refuses_the_promotion() -> None:
    desk = registered(versions=1)
    desk.send(RequestPromotion(promotion_id="mp1", model_id="md1", environment="production", number=1))
    _, ended = checked(desk, "mv1", check=2, problem="weights.bin: other bytes")
    assert isinstance(ended, PromotionEnded)
    assert (ended.status, ended.refusal()) == (S.REFUSED, "version 1 is damaged: weights.bin: other bytes")


def test_where_approvals_are_asked_for_they_are_needed() -> None:
    desk = registered(versions=1, approval_rules=TWO)
    direct = SetEnvironment(model_id="md1", environment="production", number=1)
    assert refusal(desk, direct)[1] == "2 must agree before a version is live in production; request a promotion"
    desk.send(RequestPromotion(promotion_id="mp1", model_id="md1", environment="production", number=1))
    approve = ApprovePromotion(promotion_id="mp1")
    own = "promotion mp1 was requested by owner; have others agree to it"
    assert refusal(desk, approve) == (ErrorCode.PERMISSION_DENIED, own)
    assert desk.send(approve, actor="ada") == [PromotionApproved(project=PROJECT, promotion_id="mp1", approver="ada")]
    assert desk.send(approve, actor="ada") == []
    assert names(checked(desk, "mv1", check=2)) == ["ModelVersionChecked"]
    assert names(desk.send(approve, actor="bob")) == ["PromotionApproved", "EnvironmentSet", "PromotionEnded"]
    assert refusal(desk, approve, "bob")[0] is ErrorCode.NOT_FOUND


def test_only_those_who_are_named_have_a_say() -> None:
    rule = ApprovalRule(environment="production", approvers=("ada",))
    desk = registered(versions=1, approval_rules=[rule])
    desk.send(RequestPromotion(promotion_id="mp1", model_id="md1", environment="production", number=1))
    approve = ApprovePromotion(promotion_id="mp1")
    assert refusal(desk, approve, "bob")[1] == "bob is none of those who decide on production; ask one of ada"
    assert desk.send(RejectPromotion(promotion_id="mp1", reason="too slow"), actor="ada") == [
        PromotionEnded(project=PROJECT, promotion_id="mp1", status=S.REJECTED, reason="too slow")
    ]
    with pytest.raises(ValidationError, match="3 approvals are needed, and approvers has 1 people"):
        ApprovalRule(environment="production", approvals=3, approvers=("ada",))


def test_a_restricted_model_is_changed_by_its_owner_and_those_who_are_allowed() -> None:
    desk = registered(versions=1, access=ModelAccess.RESTRICTED, allowed=["ada"])
    command = SetAlias(model_id="md1", alias="best", number=1)
    denied = "model md1 is restricted, and eve is none of those who may change it; ask owner"
    for each in (command, create("mv2"), UpdateModelVersion(version_id="mv1", notes="x")):
        assert refusal(desk, each, "eve") == (ErrorCode.PERMISSION_DENIED, denied)
    assert desk.send(command, actor="ada") != []
    desk.send(UpdateModel(model_id="md1", add_allowed=["eve"], remove_allowed=["ada"]))
    assert refusal(desk, RemoveAlias(model_id="md1", alias="best"), "ada")[0] is ErrorCode.PERMISSION_DENIED
    assert desk.send(RemoveAlias(model_id="md1", alias="best"), actor="eve") != []


def test_an_update_says_what_is_new() -> None:
    desk = registered(tags={"task": "vision"}, approval_rules=TWO)
    (event,) = desk.send(UpdateModel(model_id="md1", card="# Digits", tags={"task": None, "size": "s"}))
    assert event == ModelUpdated(
        project=PROJECT, model_id="md1", card="# Digits", approval_rules=tuple(TWO), tags={"task": None, "size": "s"}
    )
    assert desk.send(UpdateModel(model_id="md1", card="# Digits", tags={"task": None})) == []
    (rules,) = desk.send(UpdateModel(model_id="md1", remove_rules=["production"]))
    assert isinstance(rules, ModelUpdated)
    assert rules.approval_rules == ()


def test_a_version_is_described_but_never_changed() -> None:
    desk = registered(versions=1)
    said = {"project": PROJECT, "version_id": "mv1", "model_id": "md1"}
    assert desk.send(UpdateModelVersion(version_id="mv1", notes="good", tags={"a": "b"})) == [
        ModelVersionUpdated(**said, notes="good", tags={"a": "b"})
    ]
    assert desk.send(UpdateModelVersion(version_id="mv1", notes="good", tags={"a": "b"})) == []


def test_parents_are_versions_that_there_are() -> None:
    desk = registered(versions=1)
    parent = ParentVersion(version_id="mv1", derivation=Derivation.QUANTIZED)
    assert names(desk.send(create("mv2", parents=(parent,)))) == ["ModelVersionCreated"]
    stray = create("mv3", parents=(parent.model_copy(update={"version_id": "mv9"}),))
    problem = "spec.parents.0.version_id: there is no version 'mv9' in this project"
    assert refusal(desk, stray) == (ErrorCode.INVALID_ARGUMENT, problem)


def test_a_run_of_another_project_is_no_source() -> None:
    desk = Desk("lab/a")
    desk.send(RegisterModel(name="digits"))
    (id,) = desk.state("registry", "lab/a").models
    with pytest.raises(Refused, match=r"spec.source_run_id: 'r1' is no run of project lab/a"):
        desk.send(CreateModelVersion(model_id=id, spec=SPEC.model_copy(update={"source_run_id": "r1"})))


def test_a_deleted_model_frees_its_name_and_ends_what_its_versions_had() -> None:
    desk = registered(versions=1)
    desk.send(SetAlias(model_id="md1", alias="best", number=1))
    desk.send(SetModelStage(version_id="mv1", stage=ModelStage.STAGING))
    assert desk.send(DeleteModel(model_id="md1")) == [
        ModelDeleted(project=PROJECT, model_id="md1", number=1, ends=(1, 2))
    ]
    assert refusal(desk, create("mv2"))[0] is ErrorCode.NOT_FOUND
    assert names(desk.send(RegisterModel(name="digits"))) == ["ModelRegistered"]


def test_a_version_that_is_deleted_loses_its_aliases_and_stage() -> None:
    desk = registered(versions=1)
    desk.send(SetAlias(model_id="md1", alias="best", number=1))
    desk.send(SetModelStage(version_id="mv1", stage=ModelStage.STAGING))
    removed, deleted = desk.send(DeleteModelVersion(version_id="mv1"))
    assert isinstance(removed, AliasRemoved)
    assert isinstance(deleted, ModelVersionDeleted)
    assert (removed.ends, deleted.ends) == (1, 2)


def test_a_version_is_damaged_later_and_intact_again() -> None:
    desk = registered(versions=1)
    desk.send(CheckModelVersion(version_id="mv1"))
    checked(desk, "mv1", 2, "gone")
    assert desk.state("registry", PROJECT).versions["mv1"].status is VersionStatus.DAMAGED
    desk.send(CheckModelVersion(version_id="mv1"))
    checked(desk, "mv1", 3)
    assert desk.state("registry", PROJECT).versions["mv1"].status is VersionStatus.VERIFIED
