"""How its events change a registry."""

from __future__ import annotations

from collections.abc import Mapping

from events.language.base import Event
from events.language.experiments import (
    PROMOTION_MOVES,
    VERSION_MOVES,
)
from events.language.experiments.registry import (
    AliasRemoved,
    AliasSet,
    EnvironmentCleared,
    EnvironmentSet,
    ModelDeleted,
    ModelEvent,
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
    PromotionStatus,
    VersionCheckRequested,
    VersionEvent,
    VersionStatus,
)
from events.language.moves import check_move
from services.experiments.registry.state import Model, Promotion, Registry, Slot, Version


def evolve(state: Registry, event: Event) -> Registry:
    match event:
        case ModelRegistered():
            state.models[event.model_id] = Model(
                name=event.name,
                owner=event.owner,
                access=event.access,
                allowed=event.allowed,
                rules={rule.environment: rule for rule in event.approval_rules},
                description=event.description,
                card=event.card,
                tags=dict(event.tags),
                latest=event.latest,
            )
            state.names[event.name] = event.model_id
        case ModelEvent():
            _model(state, state.models[event.model_id], event)
        case ModelVersionCreated():
            model = state.models[event.model_id]
            model.latest = event.number
            model.versions[event.number] = event.version_id
            state.versions[event.version_id] = Version(
                event.model_id, event.number, notes=event.notes, tags=dict(event.tags)
            )
        case VersionEvent():
            _version(state, state.versions[event.version_id], event)
        case PromotionRequested():
            state.promotions[event.promotion_id] = Promotion(
                event.model_id,
                event.version_id,
                event.number,
                event.environment,
                event.requested_by,
                event.reason,
                event.check,
            )
        case PromotionApproved():
            state.promotions[event.promotion_id].approved_by.append(event.approver)
        case PromotionEnded():
            check_move(PROMOTION_MOVES, PromotionStatus.REQUESTED, event.status, f"promotion {event.promotion_id}")
            del state.promotions[event.promotion_id]
    return state


def _model(state: Registry, model: Model, event: ModelEvent) -> None:
    match event:
        case ModelUpdated():
            for name in ("description", "card", "access"):
                if (value := getattr(event, name)) is not None:
                    setattr(model, name, value)
            model.allowed = event.allowed
            model.rules = {rule.environment: rule for rule in event.approval_rules}
            retag(model.tags, event.tags)
        case ModelRenamed():
            _leave_name(state, model)
            model.name, model.names, model.latest = event.name, event.number, event.latest
            state.names[event.name] = event.model_id
        case ModelDeleted():
            _leave_name(state, model)
            for id in model.versions.values():
                state.versions[id].deleted = True
            model.deleted = True
            model.versions, model.aliases, model.environments = {}, {}, {}
        case AliasSet():
            model.aliases[event.alias] = Slot(event.number, event.period)
            model.periods = event.period
        case AliasRemoved():
            del model.aliases[event.alias]
        case EnvironmentSet():
            model.environments[event.environment] = Slot(event.number, event.period)
            model.periods = event.period
        case EnvironmentCleared():
            del model.environments[event.environment]


def _leave_name(state: Registry, model: Model) -> None:
    del state.names[model.name]
    state.numbers[model.name] = max(model.latest, state.numbers.get(model.name, 0))


def _version(state: Registry, version: Version, event: VersionEvent) -> None:
    match event:
        case ModelVersionUpdated():
            if event.notes is not None:
                version.notes = event.notes
            retag(version.tags, event.tags)
        case ModelVersionDeleted():
            version.deleted = True
            del state.models[event.model_id].versions[version.number]
        case VersionCheckRequested():
            version.check = event.check
            version.checking.append(event.check)
        case ModelVersionChecked():
            version.checking = [each for each in version.checking if each > event.check]
            to = VersionStatus.VERIFIED if event.intact else VersionStatus.DAMAGED
            if to is not version.status:
                check_move(VERSION_MOVES, version.status, to, f"version {event.version_id}")
            version.status, version.reason = to, event.reason
            for promotion in state.promotions.values():
                if promotion.version_id == event.version_id and promotion.check <= event.check:
                    promotion.check = 0
        case ModelStageSet():
            version.stage, version.period = event.stage, event.period
            if event.period:
                state.models[event.model_id].periods = event.period


def retag(tags: dict[str, str], changes: Mapping[str, str | None]) -> None:
    """Change tags; what has no value goes."""
    for key, value in changes.items():
        if value is None:
            tags.pop(key, None)
        else:
            tags[key] = value
