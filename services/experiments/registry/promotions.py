"""How a version comes to be live in an environment where that is to be agreed on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from events.language.base import Command, Event
from events.language.common import absent, shown
from events.language.experiments.registry import (
    ApprovePromotion,
    EnvironmentSet,
    ModelVersionChecked,
    PromotionApproved,
    PromotionEnded,
    PromotionRequested,
    PromotionStatus,
    RejectPromotion,
    RequestPromotion,
    VersionCheckRequested,
)
from events.writer.decider import DecisionContext
from services.experiments.refusals import denied, exists, forbidden
from services.experiments.registry.rules import check_may, known_model, usable
from services.experiments.registry.state import Promotion, Registry


def decided(state: Registry, command: Command, context: DecisionContext) -> Sequence[Event]:
    """The events that a command about a promotion leads to. Raises Refused."""
    if isinstance(command, RequestPromotion):
        return _requested(state, command, context)
    assert isinstance(command, ApprovePromotion | RejectPromotion)
    id = command.promotion_id
    if (promotion := state.promotions.get(id)) is None:
        problem = f"no promotion {shown(id)} is under way in this project"
        raise absent("promotion_id", problem, "forgelog models promotions shows them")
    model = state.models[promotion.model_id]
    if isinstance(command, RejectPromotion):
        if context.actor != promotion.requested_by:
            check_may(model, promotion.model_id, context.actor)
            _check_approver(state, promotion, context.actor)
        rejected = PromotionStatus.REJECTED
        return [PromotionEnded(project=command.project, promotion_id=id, status=rejected, reason=command.reason)]
    check_may(model, promotion.model_id, context.actor)
    rule = model.rules.get(promotion.environment)
    if rule is not None and rule.by_others and context.actor == promotion.requested_by:
        problem = f"promotion {id} was requested by {context.actor}"
        raise denied("promotion_id", problem, "have others agree to it")
    _check_approver(state, promotion, context.actor)
    if context.actor in promotion.approved_by:
        return ()
    approved = PromotionApproved(
        project=command.project, promotion_id=id, approver=context.actor, comment=command.comment
    )
    if promotion.check or not _agreed(state, promotion, context.actor):
        return [approved]
    return [approved, *_completed(state, id, promotion, command.project, model.periods + 1)]


def after_check(state: Registry, checked: ModelVersionChecked) -> Sequence[Event]:
    """What follows for promotions of a version once its files were looked at."""
    found: list[Event] = []
    period = state.models[checked.model_id].periods
    for id, promotion in state.promotions.items():
        if promotion.version_id != checked.version_id or not 0 < promotion.check <= checked.check:
            continue
        if not checked.intact:
            refused = PromotionStatus.REFUSED
            reason = f"version {promotion.number} is damaged: {checked.reason}"[:500]
            found.append(PromotionEnded(project=checked.project, promotion_id=id, status=refused, reason=reason))
        elif _agreed(state, promotion):
            period += 1
            found += _completed(state, id, promotion, checked.project, period)
    return found


def _requested(state: Registry, command: RequestPromotion, context: DecisionContext) -> Sequence[Event]:
    model = known_model(state, command.model_id)
    check_may(model, command.model_id, context.actor)
    version_id = usable(state, model, command.number)
    for id, each in state.promotions.items():
        if (each.version_id, each.environment) == (version_id, command.environment):
            raise exists(
                "number",
                f"there is a promotion {id} of this version to {command.environment} already",
                "approve that one",
            )
    slot = model.environments.get(command.environment)
    if slot is not None and slot.number == command.number:
        problem = f"version {command.number} is live in {command.environment} already"
        raise forbidden("number", problem, "promote another version")
    check = state.versions[version_id].check + 1
    names = {"project": command.project, "version_id": version_id, "model_id": command.model_id}
    return [
        PromotionRequested(
            **names,
            promotion_id=command.promotion_id,
            number=command.number,
            environment=command.environment,
            requested_by=context.actor,
            reason=command.reason,
            check=check,
        ),
        VersionCheckRequested(**names, check=check),
    ]


def _check_approver(state: Registry, promotion: Promotion, actor: str) -> None:
    """Raises Refused if this person has no say."""
    rule = state.models[promotion.model_id].rules.get(promotion.environment)
    if rule is not None and rule.approvers and actor not in rule.approvers:
        problem = f"{actor} is none of those who decide on {promotion.environment}"
        raise denied("promotion_id", problem, f"ask one of {', '.join(rule.approvers)}")


def _agreed(state: Registry, promotion: Promotion, approver: str = "") -> bool:
    """Whether enough people agree, with one more. Only those count whom the rule names now."""
    rule = state.models[promotion.model_id].rules.get(promotion.environment)
    if rule is None:
        return True
    agree = {*promotion.approved_by, *filter(None, (approver,))}
    if rule.approvers:
        agree &= set(rule.approvers)
    if rule.by_others:
        agree.discard(promotion.requested_by)
    return len(agree) >= rule.approvals


def _completed(state: Registry, id: str, promotion: Promotion, project: str, period: int) -> Iterator[Event]:
    slot = state.models[promotion.model_id].environments.get(promotion.environment)
    yield EnvironmentSet(
        project=project,
        model_id=promotion.model_id,
        environment=promotion.environment,
        number=promotion.number,
        version_id=promotion.version_id,
        period=period,
        ends=slot.period if slot is not None else 0,
        reason=promotion.reason,
        promotion_id=id,
        actor=promotion.requested_by,
    )
    yield PromotionEnded(project=project, promotion_id=id, status=PromotionStatus.COMPLETED)
