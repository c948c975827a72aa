"""A project's registry of models: names are given once, numbers never twice. Pure.

RegisterModel ─► ModelRegistered
CreateModelVersion ─► ModelVersionCreated (pending) ─► (worker) ReportVersionChecked ─► ModelVersionChecked
SetAlias, SetModelStage, SetEnvironment: of a verified version only
RequestPromotion ─► PromotionRequested, VersionCheckRequested ─► ModelVersionChecked, PromotionApproved … ─►
    EnvironmentSet, PromotionEnded
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from events.language.base import Command, Event
from events.language.common import invalid, shown
from events.language.experiments.registry import (
    AliasRemoved,
    AliasSet,
    ApprovalRule,
    ApprovePromotion,
    CheckModelVersion,
    CreateModelVersion,
    DeleteModel,
    DeleteModelVersion,
    EnvironmentCleared,
    EnvironmentSet,
    ModelCommand,
    ModelDeleted,
    ModelRegistered,
    ModelRenamed,
    ModelStageSet,
    ModelUpdated,
    ModelVersionChecked,
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionUpdated,
    PromotionApproved,
    PromotionEnded,
    PromotionRequested,
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
)
from events.writer.decider import Decider, DecisionContext
from services.experiments.refusals import exhausted, exists, forbidden
from services.experiments.registry import promotions, versions
from services.experiments.registry.fold import evolve
from services.experiments.registry.rules import (
    check_may,
    check_tags,
    known_model,
    new_tags,
    slot_of,
    usable,
)
from services.experiments.registry.state import Model, Registry

_NUMBERED = re.compile(r"v[0-9]+", re.IGNORECASE)

MOST_ALLOWED = 1_000
MOST_RULES = 50
"""Of a model."""


class Registries(Decider[Registry]):
    """The decider of registries; its key is the project."""

    context = "experiments"
    aggregate = "registry"
    commands = (
        RegisterModel,
        UpdateModel,
        RenameModel,
        DeleteModel,
        SetAlias,
        RemoveAlias,
        SetEnvironment,
        CreateModelVersion,
        UpdateModelVersion,
        DeleteModelVersion,
        SetModelStage,
        CheckModelVersion,
        ReportVersionChecked,
        RequestPromotion,
        ApprovePromotion,
        RejectPromotion,
    )
    events = (
        ModelRegistered,
        ModelUpdated,
        ModelRenamed,
        ModelDeleted,
        AliasSet,
        AliasRemoved,
        EnvironmentSet,
        EnvironmentCleared,
        ModelVersionCreated,
        ModelVersionUpdated,
        ModelVersionDeleted,
        VersionCheckRequested,
        ModelVersionChecked,
        ModelStageSet,
        PromotionRequested,
        PromotionApproved,
        PromotionEnded,
    )

    def initial(self, key: str) -> Registry:
        return Registry()

    def evolve(self, state: Registry, event: Event, time: datetime) -> Registry:
        return evolve(state, event)

    def holds(self, state: Registry, aggregate: str, id: str) -> bool:
        if aggregate == "model":
            return id in state.models
        return id in (state.versions if aggregate == "model_version" else state.promotions)

    def decide(self, state: Registry, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, RegisterModel):
            return [_registered(state, command, context)]
        if isinstance(command, ModelCommand):
            model = known_model(state, command.model_id)
            check_may(model, command.model_id, context.actor)
            return _of_model(state, model, command, context)
        if isinstance(command, RequestPromotion | ApprovePromotion | RejectPromotion):
            return promotions.decided(state, command, context)
        return versions.decided(state, command, context)


def _registered(state: Registry, command: RegisterModel, context: DecisionContext) -> ModelRegistered:
    if command.model_id in state.models:
        raise exists(
            "model_id", f"there is a model {shown(command.model_id)} already", "leave model_id out to have one assigned"
        )
    _free(state, command.name)
    _check_rules(command.approval_rules)
    return ModelRegistered(
        project=command.project,
        model_id=command.model_id,
        name=command.name,
        owner=context.actor,
        description=command.description,
        card=command.card,
        access=command.access,
        allowed=tuple(dict.fromkeys(command.allowed)),
        approval_rules=command.approval_rules,
        tags=command.tags,
        latest=state.numbers.get(command.name, 0),
    )


def _of_model(state: Registry, model: Model, command: ModelCommand, context: DecisionContext) -> Sequence[Event]:
    project, id = command.project, command.model_id
    match command:
        case UpdateModel():
            return _updated(model, command)
        case RenameModel():
            if command.name == model.name:
                return ()
            _free(state, command.name)
            latest = max(model.latest, state.numbers.get(command.name, 0))
            return [
                ModelRenamed(project=project, model_id=id, name=command.name, number=model.names + 1, latest=latest)
            ]
        case DeleteModel():
            return _deleted(state, model, command)
        case SetAlias():
            _check_alias(command.alias)
            version_id = usable(state, model, command.number)
            slot = model.aliases.get(command.alias)
            if slot is not None and slot.number == command.number:
                return ()
            return [
                AliasSet(
                    project=project,
                    model_id=id,
                    alias=command.alias,
                    number=command.number,
                    version_id=version_id,
                    period=model.periods + 1,
                    ends=slot.period if slot is not None else 0,
                )
            ]
        case RemoveAlias():
            slot = slot_of(
                model.aliases, command.alias, "alias", f"model {model.name} has no alias {shown(command.alias)}"
            )
            return [AliasRemoved(project=project, model_id=id, alias=command.alias, ends=slot.period)]
        case SetEnvironment():
            return _environment(state, model, command, context)
    raise TypeError(f"models take no {type(command).__name__}")


def _check_alias(alias: str) -> None:
    """Raises Refused for what means a version by itself."""
    if alias.lower() == "latest" or _NUMBERED.fullmatch(alias):
        raise invalid("alias", f"{shown(alias)} means a version by itself", "take another word")


def _updated(model: Model, command: UpdateModel) -> Sequence[Event]:
    fields = {
        name: value
        for name in ("description", "card", "access")
        if (value := getattr(command, name)) is not None and value != getattr(model, name)
    }
    kept = [each for each in model.allowed if each not in command.remove_allowed]
    allowed = tuple(dict.fromkeys([*kept, *command.add_allowed]))
    _check_rules(command.approval_rules)
    left = {env: rule for env, rule in model.rules.items() if env not in command.remove_rules}
    rules = tuple((left | {rule.environment: rule for rule in command.approval_rules}).values())
    known = tuple(model.rules.values())
    _check_most(allowed, rules)
    tags = new_tags(model.tags, command.tags)
    if not fields and not tags and (allowed, rules) == (model.allowed, known):
        return ()
    check_tags(model.tags, tags, f"model {model.name}")
    return [
        ModelUpdated(
            project=command.project,
            model_id=command.model_id,
            **fields,
            allowed=allowed,
            approval_rules=rules,
            tags=tags,
        )
    ]


def _check_rules(rules: Sequence[ApprovalRule]) -> None:
    seen = set()
    for number, rule in enumerate(rules):
        if rule.environment in seen:
            problem = f"{shown(rule.environment)} comes twice"
            raise invalid(f"approval_rules.{number}.environment", problem, "give each environment one rule")
        seen.add(rule.environment)


def _check_most(allowed: Sequence[str], rules: Sequence[ApprovalRule]) -> None:
    """Raises Refused if a model would have too many of these."""
    for field, found, most in (("add_allowed", allowed, MOST_ALLOWED), ("approval_rules", rules, MOST_RULES)):
        if len(found) > most:
            problem = f"the model would have {len(found)}, and at most {most} are kept"
            raise exhausted(field, problem, "take others away first")


def _deleted(state: Registry, model: Model, command: DeleteModel) -> Sequence[Event]:
    if live := next(iter(model.environments), ""):
        problem = f"version {model.environments[live].number} of model {model.name} is live in {live}"
        raise forbidden("model_id", problem, "clear that first")
    if asked := next((id for id, each in state.promotions.items() if each.model_id == command.model_id), ""):
        raise forbidden("model_id", f"promotion {asked} is under way", "reject it first")
    stages = (state.versions[id].period for id in model.versions.values())
    ends = sorted([*(slot.period for slot in model.aliases.values()), *filter(None, stages)])
    return [ModelDeleted(project=command.project, model_id=command.model_id, number=model.names, ends=tuple(ends))]


def _environment(state: Registry, model: Model, command: SetEnvironment, context: DecisionContext) -> Sequence[Event]:
    names = {"project": command.project, "model_id": command.model_id, "environment": command.environment}
    slot = model.environments.get(command.environment)
    if command.number is None:
        problem = f"no version is live in {command.environment}"
        slot = slot_of(model.environments, command.environment, "environment", problem)
        return [EnvironmentCleared(**names, ends=slot.period, reason=command.reason)]
    version_id = usable(state, model, command.number)
    if slot is not None and slot.number == command.number:
        return ()
    if (rule := model.rules.get(command.environment)) is not None:
        problem = f"{rule.approvals} must agree before a version is live in {command.environment}"
        raise forbidden("environment", problem, "request a promotion")
    return [
        EnvironmentSet(
            **names,
            number=command.number,
            version_id=version_id,
            period=model.periods + 1,
            ends=slot.period if slot is not None else 0,
            reason=command.reason,
            actor=context.actor,
        )
    ]


def _free(state: Registry, name: str) -> None:
    """Raises Refused for a name that a model has."""
    if (id := state.names.get(name)) is not None:
        raise exists("name", f"there is a model {shown(name)} already", f"take another name, or use the model {id}")
