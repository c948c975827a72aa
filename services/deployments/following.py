"""Which deployments of a project follow an alias or an environment, and what they are told. Pure.

RevisionCreated of a deployment that follows ─► (order) FollowVersion ─► VersionFollowed
AliasSet, EnvironmentSet of the registry ─► FollowedVersionMoved ─► (order) RenewDeployment ─► RevisionCreated
RenewDeployment refused: the deployment has ended, or follows something else ─► VersionUnfollowed

Each move is told once and in its order, so the last one decides. A rollout that is under way then gives way to the
newer revision, as with any update. What was undone stays undone until the alias moves again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from events.language.base import Command, Event
from events.language.common import CommandRejected
from events.language.deployments.commands import RenewDeployment
from events.language.deployments.events import DeploymentEvent, RevisionCreated
from events.language.deployments.following import (
    FollowedVersionMoved,
    FollowVersion,
    VersionFollowed,
    VersionUnfollowed,
)
from events.language.deployments.models import ModelChoice
from events.language.experiments.registry.events import AliasSet, EnvironmentSet
from events.writer.decider import Decider, DecisionContext, Order
from services.deployments.refusals import forbidden
from services.deployments.state import Deployment


@dataclass(slots=True)
class Followed:
    """What one deployment follows."""

    model_id: str
    alias: str
    environment: str


@dataclass(slots=True)
class Following:
    """The followers of a project."""

    by_deployment: dict[str, Followed] = field(default_factory=dict)


class Followers(Decider[Following]):
    """The decider of followers; its key is the project."""

    context = "deployments"
    aggregate = "followers"
    commands = (FollowVersion,)
    events = (VersionFollowed, FollowedVersionMoved, VersionUnfollowed)
    routes: ClassVar = {AliasSet: lambda event: [event.project], EnvironmentSet: lambda event: [event.project]}
    dispatching = frozenset({FollowedVersionMoved})
    asks = ("deployments",)

    def initial(self, key: str) -> Following:
        return Following()

    def holds(self, state: Following, aggregate: str, id: str) -> bool:
        return id in state.by_deployment

    def evolve(self, state: Following, event: Event, time: datetime) -> Following:
        match event:
            case VersionFollowed():
                followed = Followed(event.model_id, event.alias, event.environment)
                state.by_deployment[event.deployment_id] = followed
            case VersionUnfollowed():
                state.by_deployment.pop(event.deployment_id, None)
        return state

    def decide(self, state: Following, command: Command, context: DecisionContext) -> Sequence[Event]:
        assert isinstance(command, FollowVersion)
        wanted = Followed(command.model_id, command.alias, command.environment)
        if state.by_deployment.get(command.deployment_id) == wanted:
            return []
        return [VersionFollowed(**command.model_dump())]

    def react(self, state: Following, event: Event, context: DecisionContext) -> Sequence[Event]:
        assert isinstance(event, AliasSet | EnvironmentSet)
        alias = event.alias if isinstance(event, AliasSet) else ""
        environment = event.environment if isinstance(event, EnvironmentSet) else ""
        return [
            FollowedVersionMoved(
                project=event.project,
                deployment_id=deployment,
                alias=alias,
                environment=environment,
                number=event.number,
                version_id=event.version_id,
            )
            for deployment, followed in state.by_deployment.items()
            if followed.model_id in ("", event.model_id)
            and (followed.alias, followed.environment) == (alias, environment)
        ]

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order]:
        assert isinstance(event, FollowedVersionMoved)
        return [Order(RenewDeployment(**event.model_dump(exclude={"project"})))]

    def refused(self, state: Following, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        if refusal.subject_id not in state.by_deployment:
            return ()
        return [VersionUnfollowed(project=context.subject, deployment_id=refusal.subject_id)]


def order(event: RevisionCreated, model_id: str = "") -> list[Order]:
    """What the project's list is told of a new revision. `model_id`: of the model that was found for it."""
    choice = event.spec.model
    if choice is None or not choice.follow:
        return []
    said = {"alias": choice.alias, "environment": choice.environment}
    return [Order(FollowVersion(deployment_id=event.deployment_id, model_id=model_id, **said))]


def renewed(state: Deployment, command: RenewDeployment) -> Sequence[DeploymentEvent]:
    """The revision that a move leads to; none if the newest one serves that version. Raises Refused."""
    assert state.spec is not None
    choice = state.spec.model
    if choice is None or not _follows(choice, command):
        problem = f"deployment {command.deployment_id} does not follow that"
        raise forbidden("deployment_id", problem, "update it with model.follow")
    newest = state.revisions.get(state.newest)
    if newest is not None and newest.model is not None and newest.model.version_id == command.version_id:
        return []
    where = f"has the alias {command.alias}" if command.alias else f"is live in {command.environment}"
    note = f"version {command.number} of {choice.name} {where}"
    return [
        RevisionCreated(
            deployment_id=command.deployment_id,
            revision=state.newest + 1,
            spec=state.spec,
            note=note,
            model_number=command.number,
        )
    ]


def _follows(choice: ModelChoice, command: RenewDeployment) -> bool:
    return choice.follow and (choice.alias, choice.environment) == (command.alias, command.environment)
