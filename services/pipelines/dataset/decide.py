"""A dataset's life, with its versions. Pure.

CommitRequested (of a pipeline) ─► VersionCommitted and QualityEvaluated, CommitRefused, or CommitHeld
CommitWithdrawn (of a pipeline) ─► CommitRefused, or VersionAbandoned
StagePublished (of a pipeline) ─► VersionPublished, SchemaChanged, VolumeAnomaly, SubscriberNotified
DatasetSubscribed, DatasetUnsubscribed (of a pipeline) ─► SubscriberAdded, SubscriberRemoved
AbandonVersion ─► VersionAbandoned; what waits is decided then, or after a publication
DefineQualityRule ─► QualityRuleDefined; SetContract ─► ContractSet; RecordLineage ─► LineageRecorded
time ─► DatasetStale
The first of them begins the dataset: DatasetDefined.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from events.language.base import Command, Event
from events.language.common import ErrorCode, Refused, absent, refused
from events.language.pipelines.dataset_messages import (
    AbandonVersion,
    CommitHeld,
    CommitRefused,
    ContractSet,
    DatasetCommand,
    DatasetDefined,
    DatasetEvent,
    DatasetStale,
    DefineQualityRule,
    LineageRecorded,
    QualityEvaluated,
    QualityRuleDefined,
    RecordLineage,
    SchemaChanged,
    SetContract,
    SubscriberAdded,
    SubscriberNotified,
    SubscriberRemoved,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
    VolumeAnomaly,
)
from events.language.pipelines.quality import MAX_RULES
from events.language.pipelines.run_events import CommitRequested, CommitWithdrawn, StagePublished
from events.language.pipelines.trigger_messages import DatasetSubscribed, DatasetUnsubscribed
from events.writer.decider import Decider, DecisionContext
from services.pipelines.dataset import committing, recording, subscribing
from services.pipelines.dataset.fold import evolve
from services.pipelines.dataset.naming import defined, label_of
from services.pipelines.dataset.state import Dataset
from services.pipelines.refusals import forbidden

_SHOWN = "forgelog pipeline datasets ls shows them"


class Datasets(Decider[Dataset]):
    """The decider of datasets; its key is the dataset's id."""

    context = "pipelines"
    aggregate = "pipeline_dataset"
    commands = (DefineQualityRule, SetContract, AbandonVersion, RecordLineage)
    events = (
        DatasetDefined,
        QualityRuleDefined,
        ContractSet,
        CommitHeld,
        VersionCommitted,
        CommitRefused,
        VersionPublished,
        VersionAbandoned,
        SchemaChanged,
        QualityEvaluated,
        DatasetStale,
        VolumeAnomaly,
        SubscriberAdded,
        SubscriberRemoved,
        SubscriberNotified,
        LineageRecorded,
    )

    routes: ClassVar = {
        CommitRequested: lambda event: (event.commit.dataset_id,),
        **dict.fromkeys(
            (CommitWithdrawn, StagePublished, DatasetSubscribed, DatasetUnsubscribed), lambda event: (event.dataset_id,)
        ),
    }

    def initial(self, key: str) -> Dataset:
        return Dataset()

    def evolve(self, state: Dataset, event: Event, time: datetime) -> Dataset:
        return evolve(state, event, time)

    def may_passivate(self, state: Dataset) -> bool:
        return state.pending is None and not state.held and state.stale_at is None

    def decide(self, state: Dataset, command: Command, context: DecisionContext) -> Sequence[Event]:
        assert isinstance(command, DatasetCommand)
        id = command.dataset_id
        label_of(id, context.project)
        if isinstance(command, AbandonVersion):
            return _abandoned(state, command)
        match command:
            case DefineQualityRule():
                found = _rule(state, command)
            case SetContract():
                same = command.contract == state.contract
                found = [] if same and state.project else [ContractSet(dataset_id=id, contract=command.contract)]
            case _:
                assert isinstance(command, RecordLineage)
                found = recording.recorded(state, command)
        location = command.location if isinstance(command, RecordLineage) else ""
        begun = [defined(id, context.project, location)] if found and not state.project else []
        return [*begun, *found]

    def react(self, state: Dataset, event: Event, context: DecisionContext) -> Sequence[Event]:
        if isinstance(event, StagePublished):
            return committing.published(state, event)
        if isinstance(event, CommitWithdrawn):
            return committing.withdrawn(state, event)
        if isinstance(event, DatasetSubscribed):
            return subscribing.added(state, event.dataset_id, event.pipeline_id, context.project)
        if isinstance(event, DatasetUnsubscribed):
            return subscribing.removed(state, event.dataset_id, event.pipeline_id)
        assert isinstance(event, CommitRequested)
        request = event.commit
        if state.project:
            return committing.asked(state, request)
        try:
            begun = defined(request.dataset_id, context.project, request.manifest.base)
        except Refused as error:
            return [committing.unnamed(request, error.message)]
        return [begun, *committing.asked(state, request)]

    def after_batch(self, state: Dataset, context: DecisionContext) -> Sequence[Event]:
        return committing.next_held(state)

    def due(self, state: Dataset) -> datetime | None:
        return state.stale_at

    def wake(self, state: Dataset, context: DecisionContext) -> Sequence[Event]:
        policy = state.contract.freshness
        if state.stale_at is None or context.now < state.stale_at:
            return ()
        assert policy is not None
        assert state.published_at is not None, "nothing that was never published gets stale"
        return [
            DatasetStale(
                dataset_id=context.subject,
                dataset_version=state.published,
                published_at=state.published_at,
                within_seconds=policy.within_seconds,
            )
        ]


def _rule(state: Dataset, command: DefineQualityRule) -> Sequence[DatasetEvent]:
    rule = command.rule
    known = state.rules.get(rule.rule_id)
    if known is not None and known.rule == rule:
        return []
    if known is None and len(state.rules) >= MAX_RULES:
        problem = f"dataset {command.dataset_id} has {MAX_RULES} rules, which is the most"
        raise refused(ErrorCode.RESOURCE_EXHAUSTED, "rule", problem, "change one of them, or join several into one")
    return [QualityRuleDefined(dataset_id=command.dataset_id, rule=rule, revision=state.revision + 1)]


def _abandoned(state: Dataset, command: AbandonVersion) -> Sequence[DatasetEvent]:
    id, number, pending = command.dataset_id, command.dataset_version, state.pending
    if not state.project:
        raise absent("dataset_id", f"there is no dataset {id!r}", _SHOWN)
    if pending is None or number != state.committed:
        which = f"version {state.committed} does" if pending is not None else "none does"
        problem = f"version {number} of dataset {id} does not wait to be published; {which}"
        raise forbidden("dataset_version", problem, "give the version that is committed and not published")
    return [
        VersionAbandoned(
            dataset_id=id,
            pipeline_id=pending.pipeline_id,
            run_id=pending.run_id,
            stage_id=pending.stage_id,
            attempt=pending.attempt,
            dataset_version=number,
            reason=command.reason,
        )
    ]
