"""A deployment's life, with its revisions and replicas. Pure.

CreateDeployment ─► DeploymentCreated, RevisionCreated
UpdateDeployment ─► RevisionCreated, or DeploymentUpdated where replicas stay as they are
RenewDeployment ─► RevisionCreated (an alias that it follows has moved: `services.deployments.following`)
ScaleDeployment ─► DeploymentScaled; TerminateDeployment ─► TerminationRequested
RevisionCreated ─► (asks experiments for the model's version) ResolveRevision ─► RevisionResolved or RevisionRejected
what follows from the state and the time: `services.deployments.rollout`
IssueEndpointKey ─► EndpointKeyIssued; RevokeEndpointKey ─► EndpointKeyRevoked (`services.deployments.endpoint_keys`)
ReplicaRequested ─► (order) SubmitJob; ReplicaReleased ─► (order) CancelJob
events of a replica's job ─► ReplicaStarted, ReplicaReady, ReplicaUnready, ReplicaEnded (`services.deployments.hearing`)
ReportTraffic, ReportUsage, ReportDemand ─► what follows from the load: `services.deployments.steering`
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from events.language.base import Command, Event
from events.language.common import CommandRejected, ErrorCode, absent, refused
from events.language.deployments.commands import (
    CreateDeployment,
    OfDeployment,
    PauseRollout,
    PromoteRollout,
    RenewDeployment,
    ResolveRevision,
    ResumeRollout,
    ScaleDeployment,
    SetTraffic,
    TerminateDeployment,
    UndoRollout,
    UpdateDeployment,
)
from events.language.deployments.enums import DeploymentStatus, RollbackCause, RolloutStrategy
from events.language.deployments.events import (
    DeploymentCreated,
    DeploymentEvent,
    DeploymentScaled,
    DeploymentStatusChanged,
    DeploymentUpdated,
    ReplicaDraining,
    ReplicaEnded,
    ReplicaReady,
    ReplicaReleased,
    ReplicaRequested,
    ReplicaStarted,
    ReplicaUnready,
    RevisionCreated,
    RevisionRejected,
    RevisionResolved,
    RolloutCompleted,
    RolloutPaused,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStarted,
    RolloutStepped,
    RoutingChanged,
    TerminationRequested,
    TrafficRulesSet,
)
from events.language.deployments.keys import IssueEndpointKey, RevokeEndpointKey
from events.language.deployments.models import changed_fields, needs_new_replicas, with_replicas_of
from events.language.deployments.routing import PublicKey
from events.language.deployments.steering import (
    AlertFired,
    AlertResolved,
    CanaryJudged,
    LoadObserved,
    ReportDemand,
    ReportTraffic,
    ReportUsage,
    ScalingDecided,
    SetAlerts,
    SetAutoScaling,
)
from events.language.jobs import (
    CancelJob,
    JobCancelled,
    JobCompleted,
    JobExited,
    JobFailed,
    JobStarted,
    JobTaskReady,
    JobTaskUnready,
    SubmitJob,
)
from events.log.ids import named_id
from events.process.replica_keys import replicas_key
from events.process.settings import Settings
from events.writer.decider import BY_ORIGIN, Decider, DecisionContext, Order, Question
from services.deployments import endpoint_keys, following, hearing, resolving, rollout, splitting, steering
from services.deployments.fold import evolve
from services.deployments.issuer import issuer
from services.deployments.loads import Load, Report
from services.deployments.refusals import check_endpoints, forbidden
from services.deployments.state import Deployment

_SHOWN = "forgelog deployments ls shows them"


class Deployments(Decider[Deployment]):
    """The decider of deployments; its key is the deployment's id."""

    context = "deployments"
    aggregate = "deployment"
    commands = (
        CreateDeployment,
        UpdateDeployment,
        RenewDeployment,
        ScaleDeployment,
        TerminateDeployment,
        ResolveRevision,
        SetTraffic,
        PauseRollout,
        ResumeRollout,
        PromoteRollout,
        UndoRollout,
        SetAutoScaling,
        SetAlerts,
        ReportTraffic,
        ReportUsage,
        ReportDemand,
        *endpoint_keys.COMMANDS,
    )
    events = (
        DeploymentCreated,
        DeploymentUpdated,
        DeploymentScaled,
        DeploymentStatusChanged,
        TerminationRequested,
        RevisionCreated,
        RevisionResolved,
        RevisionRejected,
        RolloutStarted,
        RolloutStepped,
        RolloutPaused,
        RolloutResumed,
        RolloutCompleted,
        RolloutRolledBack,
        TrafficRulesSet,
        ReplicaRequested,
        ReplicaStarted,
        ReplicaReady,
        ReplicaUnready,
        ReplicaDraining,
        ReplicaReleased,
        ReplicaEnded,
        RoutingChanged,
        ScalingDecided,
        LoadObserved,
        CanaryJudged,
        AlertFired,
        AlertResolved,
        *endpoint_keys.EVENTS,
    )
    routes: ClassVar = dict.fromkeys(
        (JobStarted, JobTaskReady, JobTaskUnready, JobExited, JobCompleted, JobFailed, JobCancelled), BY_ORIGIN
    )
    dispatching = frozenset({RevisionCreated, ReplicaRequested, ReplicaReleased})
    asks = ("jobs", "deployments")
    consults = ("experiments",)

    def __init__(self, public_key: PublicKey | None = None) -> None:
        """`public_key`: of the issuer of endpoint keys; left out, that of the folder that `prepare` gets."""
        self._key = public_key

    def prepare(self, settings: Settings) -> None:
        if self._key is None:
            self._key = issuer(settings).public_key
        replicas_key(settings)  # it is there before the first replica

    def _public_key(self) -> PublicKey:
        assert self._key is not None, "the host prepares its deciders"
        return self._key

    def initial(self, key: str) -> Deployment:
        return Deployment()

    def evolve(self, state: Deployment, event: Event, time: datetime) -> Deployment:
        return evolve(state, event, time)

    def may_passivate(self, state: Deployment) -> bool:
        return state.status is DeploymentStatus.TERMINATED

    def decide(self, state: Deployment, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, CreateDeployment):
            return _created(state, command, context)
        assert isinstance(command, OfDeployment)
        id = command.deployment_id
        if isinstance(command, Report):
            return ()  # of one that is over too: its routers may not know it yet
        if state.status is None or state.status is DeploymentStatus.TERMINATED:
            if state.status is None:
                raise absent("deployment_id", f"there is no deployment {id!r}", _SHOWN)
            raise absent("deployment_id", f"deployment {id} is terminated", "deploy it again to use its name")
        if isinstance(command, ResolveRevision):
            return resolving.resolved(state, command)
        if isinstance(command, TerminateDeployment):
            return _terminated(state, id, command.reason, context.now)
        if state.terminating:
            raise forbidden("deployment_id", f"deployment {id} is being terminated", "wait, and create it again")
        match command:
            case UpdateDeployment():
                return _updated(state, command)
            case RenewDeployment():
                return following.renewed(state, command)
            case ScaleDeployment():
                return _scaled(state, command)
            case UndoRollout():
                return _undone(state, command)
            case SetTraffic():
                return splitting.split(state, command)
            case SetAutoScaling():
                return _set(state, id, "scaling", command.policy)
            case SetAlerts():
                return _set(state, id, "alerts", command.settings)
            case IssueEndpointKey():
                return endpoint_keys.issued(state, command, context, self._public_key())
            case RevokeEndpointKey():
                return endpoint_keys.revoked(state, command, context.now)
        return _steered(state, command)

    def react(self, state: Deployment, event: Event, context: DecisionContext) -> Sequence[Event]:
        return [*hearing.heard(state, context.subject, event)]

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order | Question]:
        match event:
            case RevisionCreated():
                return resolving.questions(event, at.project) or following.order(event)
            case ReplicaRequested():
                return [Order(SubmitJob(job_id=event.job_id, spec=event.spec))]
        assert isinstance(event, ReplicaReleased)
        return [Order(CancelJob(job_id=event.job_id, reason="its replica is released"))]

    def answered(self, event: Event, question: Question, answer: Any, at: DecisionContext) -> Sequence[Order]:
        assert isinstance(event, RevisionCreated)
        found = Order(resolving.resolution(event, answer, at.project))
        return [found, *following.order(event, resolving.model_id(answer))]

    def refused(self, state: Deployment, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        if refusal.command_type == ResolveRevision.type_name():
            return ()  # the revision is resolved, or another one has taken its place
        return [*hearing.refused(state, context.subject, refusal)]

    def after_batch(self, state: Deployment, context: DecisionContext) -> Sequence[Event]:
        if state.status is None or state.status is DeploymentStatus.TERMINATED:
            return ()
        return steering.step(state, context.subject, state.project, context.now)

    def due(self, state: Deployment) -> datetime | None:
        return None if state.status is DeploymentStatus.TERMINATED else steering.due(state)

    def wake(self, state: Deployment, context: DecisionContext) -> Sequence[Event]:
        return steering.step(state, context.subject, state.project, context.now)

    def note_quiet(self, state: Deployment, command: Command, time: datetime) -> None:
        if isinstance(command, Report) and state.status is not None:
            state.load.note(command, time.timestamp())

    def on_resume(self, state: Deployment, now: datetime) -> None:
        state.load = Load()


def _created(state: Deployment, command: CreateDeployment, context: DecisionContext) -> Sequence[DeploymentEvent]:
    id, name = command.deployment_id, command.name
    if id != named_id(name, context.project):
        problem = f"is {id!r}, and deployment {name} has the id {named_id(name, context.project)}"
        raise refused(ErrorCode.INVALID_ARGUMENT, "deployment_id", problem, "leave it out")
    if state.status is not None and state.status is not DeploymentStatus.TERMINATED:
        problem = f"deployment {id} exists"
        raise refused(ErrorCode.ALREADY_EXISTS, "name", problem, "give another name, or update it")
    check_endpoints(command.spec)
    revision = state.newest + 1
    made = RevisionCreated(deployment_id=id, revision=revision, spec=command.spec, note=command.note)
    return [
        DeploymentCreated(deployment_id=id, project=context.project, name=name),
        made,
        *resolving.at_once(name, made),
    ]


def _updated(state: Deployment, command: UpdateDeployment) -> Sequence[DeploymentEvent]:
    id, spec = command.deployment_id, command.spec
    assert state.spec is not None
    check_endpoints(spec)
    if spec.scaling is not None and state.spec.scaling is not None:
        spec = spec.model_copy(update={"replicas": state.spec.replicas})  # as many as the load has asked for
    if command.based_on and command.based_on < state.newest:
        problem = f"is {command.based_on}, and deployment {id} has revision {state.newest}"
        raise refused(ErrorCode.ABORTED, "based_on", problem, "look at what has changed, and update again")
    changed = tuple(changed_fields(state.spec, spec))
    under_way = state.unresolved or state.next or state.rollout is not None
    again = command.renew and spec.model is not None and spec.model.number is None
    if again or needs_new_replicas(state.spec, spec) or not (state.stable or under_way):
        made = RevisionCreated(
            deployment_id=id, revision=state.newest + 1, spec=spec, changed=changed, note=command.note
        )
        return [made, *resolving.at_once(state.name, made)]
    return [DeploymentUpdated(deployment_id=id, spec=spec, changed=changed, note=command.note)] if changed else []


def _scaled(state: Deployment, command: ScaleDeployment) -> Sequence[DeploymentEvent]:
    assert state.spec is not None
    before = state.spec.replicas
    if before == command.replicas:
        return []
    if state.spec.scaling is not None:
        problem = f"deployment {command.deployment_id} has as many replicas as its scaling policy decides"
        raise forbidden("replicas", problem, "change the policy's bounds, or set no policy")
    return [
        DeploymentScaled(
            deployment_id=command.deployment_id, replicas=command.replicas, before=before, reason=command.reason
        )
    ]


def _set(state: Deployment, id: str, field: str, value: object) -> Sequence[DeploymentEvent]:
    assert state.spec is not None
    if getattr(state.spec, field) == value:
        return []
    spec = state.spec.model_copy(update={field: value})
    return [DeploymentUpdated(deployment_id=id, spec=spec, changed=(field,))]


def _terminated(state: Deployment, id: str, reason: str, now: datetime) -> Sequence[DeploymentEvent]:
    if state.terminating:
        return []
    under_way = state.rollout is not None
    ended = [rollout.rolled_back(state, id, RollbackCause.TERMINATED, "its deployment ends")] if under_way else []
    keys = endpoint_keys.ended(state, id, now)
    return [*ended, *keys, TerminationRequested(deployment_id=id, revision=state.stable, reason=reason)]


def _undone(state: Deployment, command: UndoRollout) -> Sequence[DeploymentEvent]:
    id, wanted = command.deployment_id, command.to_revision
    under_way = state.rollout
    if under_way is not None and wanted in (0, state.stable):
        return [rollout.rolled_back(state, id, RollbackCause.REQUESTED, command.reason or "it was undone")]
    if wanted and wanted == state.stable:
        return []
    if not wanted:
        if not state.before:
            problem = f"deployment {id} has no earlier revision that was in place"
            raise forbidden("deployment_id", problem, "update it instead")
        wanted = state.before[-1]
    source = state.revisions.get(wanted)
    if source is None or not source.resolved:
        kept = ", ".join(str(number) for number, each in state.revisions.items() if each.resolved) or "none"
        raise absent("to_revision", f"revision {wanted} is not kept or can't be rolled out", f"those kept are {kept}")
    assert state.spec is not None
    spec = with_replicas_of(state.spec, source.spec)
    revision = state.newest + 1
    return [
        RevisionCreated(
            deployment_id=id,
            revision=revision,
            spec=spec,
            changed=tuple(changed_fields(state.spec, spec)),
            note=command.reason,
            source_revision=wanted,
        ),
        RevisionResolved(deployment_id=id, revision=revision, model=source.model),
    ]


def _steered(state: Deployment, command: OfDeployment) -> Sequence[DeploymentEvent]:
    """Commands about the rollout that is under way."""
    id, under_way = command.deployment_id, state.rollout
    if under_way is None:
        raise forbidden("deployment_id", f"deployment {id} has no rollout under way", "update it to begin one")
    names = {"deployment_id": id, "revision": under_way.revision}
    match command:
        case PauseRollout():
            return [] if under_way.paused else [RolloutPaused(**names, reason=command.reason)]
        case ResumeRollout():
            return [RolloutResumed(**names)] if under_way.paused else []
    assert isinstance(command, PromoteRollout)
    resumed = [RolloutResumed(**names)] if under_way.paused else []
    steps = [*rollout.weights_left(state)]
    match under_way.strategy:
        case RolloutStrategy.ROLLING:
            if not resumed:
                raise forbidden(
                    "deployment_id", "a rolling rollout has no steps to promote", "wait until it is complete"
                )
            return resumed
        case RolloutStrategy.BLUE_GREEN if not steps:
            return [*resumed, rollout.completed(under_way, id)]
        case RolloutStrategy.BLUE_GREEN if not state.ready(under_way.revision):
            problem = f"no replica of revision {under_way.revision} is ready"
            raise forbidden("deployment_id", problem, "wait until one is, or undo the rollout")
    if not steps:
        return resumed
    taken = steps if command.whole else steps[:1]
    return [*resumed, rollout.stepped(under_way, id, len(taken), taken[-1], "it was promoted")]
