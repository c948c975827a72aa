"""A deployment that follows an alias: given moves of the alias, then revisions, the last move deciding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from events.language.base import Event
from events.language.common import CommandRejected, ErrorCode, Refused
from events.language.deployments.commands import RenewDeployment, ResolveRevision, TerminateDeployment, UndoRollout
from events.language.deployments.events import RevisionCreated, RolloutRolledBack
from events.language.deployments.following import (
    FollowedVersionMoved,
    FollowVersion,
    VersionFollowed,
    VersionUnfollowed,
)
from events.language.deployments.models import DeploymentSpec, ModelChoice
from events.language.experiments.registry.events import AliasSet, EnvironmentSet
from events.writer.decider import DecisionContext, Question
from services.deployments.decide import Deployments
from services.deployments.following import Followers, Following
from tests.unit.deployments.desk import ID, NOON, PROJECT, Desk, command_spec, version

CHAMPION = ModelChoice(name="digits", alias="champion", follow=True)


def spec(choice: ModelChoice = CHAMPION, **fields: Any) -> DeploymentSpec:
    return command_spec(model=choice, **fields)


def served(number: int = 3, **fields: Any) -> Desk:
    """A deployment that follows the alias, which means this version."""
    desk = Desk()
    desk.create(spec(**fields))
    desk.resolve(1, version(number))
    desk.all_ready(1)
    return desk


def move(desk: Desk, number: int) -> list[Event]:
    """The alias means another version; experiments is asked for it, as for any revision."""
    found = desk.send(RenewDeployment(deployment_id=ID, alias="champion", number=number, version_id=f"v{number}"))
    made = [event.revision for event in found if isinstance(event, RevisionCreated)]
    return found + [event for revision in made for event in desk.resolve(revision, version(number))]


def through(desk: Desk) -> None:
    """Let the rollout under way come to its end."""
    while (rollout := desk.state.rollout) is not None:
        desk.all_ready(rollout.revision)
        desk.wait(6)
        desk.all_released()


class Room:
    """A project's followers."""

    def __init__(self) -> None:
        self.decider = Followers()
        self.state: Following = self.decider.initial(PROJECT)
        self.context = DecisionContext(NOON, "e1", "ada", PROJECT, PROJECT)

    def take(self, events: Any) -> list[Event]:
        for event in events:
            self.state = self.decider.evolve(self.state, event, NOON)
        return list(events)

    def follow(self, deployment: str = ID, **fields: str) -> list[Event]:
        said = {"model_id": "m1", "alias": "champion", **fields}
        command = FollowVersion(project=PROJECT, deployment_id=deployment, **said)
        return self.take(self.decider.decide(self.state, command, self.context))

    def hear(self, event: Event) -> list[Event]:
        return self.take(self.decider.react(self.state, event, self.context))


def alias(number: int = 4, model: str = "m1", name: str = "champion") -> AliasSet:
    return AliasSet(project=PROJECT, model_id=model, alias=name, number=number, version_id=f"v{number}", period=number)


# What a project's followers are told


def test_those_that_follow_the_alias_are_renewed() -> None:
    room = Room()
    assert [type(event) for event in room.follow()] == [VersionFollowed]
    assert room.follow() == []
    room.follow("letters", model_id="m2")
    room.follow("live", alias="", environment="production")
    (moved,) = room.hear(alias())
    assert isinstance(moved, FollowedVersionMoved)
    assert (moved.deployment_id, moved.number, moved.version_id) == (ID, 4, "v4")
    (order,) = room.decider.dispatch(moved, room.context)
    assert order.command == RenewDeployment(deployment_id=ID, alias="champion", number=4, version_id="v4")
    live = EnvironmentSet(
        project=PROJECT, model_id="m1", environment="production", number=2, version_id="v2", period=9, actor="ada"
    )
    assert [event.subject() for event in room.hear(live)] == ["live"]
    assert room.hear(alias(name="other")) == []


def test_one_whose_model_was_not_there_hears_of_the_alias_of_any() -> None:
    room = Room()
    room.follow(model_id="")
    assert len(room.hear(alias(model="m7"))) == 1


def test_one_that_refuses_is_told_no_more() -> None:
    room = Room()
    room.follow()
    refusal = CommandRejected(
        command_type=RenewDeployment.type_name(),
        command_id="c1",
        subject_id=ID,
        code=ErrorCode.FAILED_PRECONDITION,
        message="deployment digits is being terminated",
    )
    (gone,) = room.take(room.decider.refused(room.state, refusal, room.context))
    assert isinstance(gone, VersionUnfollowed)
    assert room.hear(alias()) == []
    assert room.decider.refused(room.state, refusal, room.context) == ()


def test_a_new_revision_tells_what_it_follows() -> None:
    desk = Desk()
    created = next(event for event in desk.create(spec()) if isinstance(event, RevisionCreated))
    decider, at = Deployments(), DecisionContext(NOON, "e1", "ada", PROJECT, ID)
    (question,) = decider.dispatch(created, at)
    found = SimpleNamespace(version=SimpleNamespace(model_id="m1"))
    absent = Refused(ErrorCode.NOT_FOUND, "there is no model 'digits'")
    orders = decider.answered(created, question, absent, at)  # type: ignore[arg-type]
    assert [type(order.command) for order in orders] == [ResolveRevision, FollowVersion]
    assert orders[1].command == FollowVersion(deployment_id=ID, alias="champion")
    from services.deployments import following

    (told,) = following.order(created, found.version.model_id)
    assert told.command == FollowVersion(deployment_id=ID, model_id="m1", alias="champion")
    plain = created.model_copy(update={"spec": spec(ModelChoice(name="digits", alias="champion"))})
    assert len(decider.answered(plain, question, absent, at)) == 1  # type: ignore[arg-type]


# What a deployment does


def test_a_move_makes_a_revision_that_says_why() -> None:
    desk = served()
    found = move(desk, 4)
    (made,) = [event for event in found if isinstance(event, RevisionCreated)]
    assert (made.note, made.model_number) == ("version 4 of digits has the alias champion", 4)
    (question,) = Deployments().dispatch(made, DecisionContext(NOON, "e1", "ada", PROJECT, ID))
    assert isinstance(question, Question)
    assert (question.request.number, question.request.alias) == (4, ""), "the alias may not be in the tables yet"
    through(desk)
    assert (desk.state.stable, desk.state.revisions[2].model) == (2, version(4))


def test_a_move_amid_a_rollout_has_one_result() -> None:
    desk = served()
    move(desk, 4)
    desk.ready(3)
    assert desk.state.rollout is not None
    gone = [event for event in move(desk, 5) if isinstance(event, RolloutRolledBack)]
    assert [(event.revision, event.cause) for event in gone] == [(2, "superseded")]
    through(desk)
    assert desk.state.stable == 3
    assert {replica.revision for _, replica in desk.state.live()} == {3}
    assert desk.state.revisions[3].model == version(5)


def test_a_move_there_and_back_amid_a_rollout_leaves_what_is_in_place() -> None:
    desk = served()
    move(desk, 4)
    desk.ready(3)
    move(desk, 3)
    through(desk)
    model = desk.state.revisions[desk.state.stable].model
    assert (model, desk.state.rollout) == (version(3), None)


def test_a_move_to_the_version_that_the_newest_revision_serves_changes_nothing() -> None:
    desk = served()
    assert move(desk, 3) == []


def test_what_was_undone_stays_until_the_alias_moves_again() -> None:
    desk = served()
    move(desk, 4)
    through(desk)
    desk.send(UndoRollout(deployment_id=ID))
    through(desk)
    assert desk.state.revisions[desk.state.stable].model == version(3)
    move(desk, 5)
    through(desk)
    assert desk.state.revisions[desk.state.stable].model == version(5)


@pytest.mark.parametrize("how", ["not", "another", "ended"])
def test_one_that_does_not_follow_refuses(how: str) -> None:
    desk = served()
    if how == "ended":
        desk.send(TerminateDeployment(deployment_id=ID))
    else:
        choice = ModelChoice(name="digits", alias="stable", follow=True) if how == "another" else None
        desk.update("serve", model=choice)
    with pytest.raises(Refused, match="is being terminated" if how == "ended" else "does not follow that"):
        move(desk, 4)


@pytest.mark.parametrize("choice", [{}, {"number": 3}])
def test_what_never_moves_is_not_followed(choice: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="follow is for an alias or an environment"):
        ModelChoice(name="digits", follow=True, **choice)
