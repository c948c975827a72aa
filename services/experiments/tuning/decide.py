"""A tuning's life, and its trials'. Pure.

(catalogue) TuningAdmitted ─► TuningCreated; TuningReleased ─► TuningDeleted
TuningCreated, whose plan names other tunings ─► (asks for their trials) AdoptTrials ─► TrialsAdopted
AskTrial ─► TrialAdded with the next number (requested, running, or as it ended elsewhere)
where the platform searches: TrialAdded (requested), as many as may run; ProposeTrial (its engine) ─► TrialProposed
StartTrial ─► TrialStarted;  RequeueTrial ─► TrialRequeued, as the next attempt
PruneTrial (the engine) ─► TrialPruned, TrialEnded
TellTrial ─► TrialEnded, once; after the last one that there may be, or none that is better: TuningStatusSet (completed)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from events.language.base import Command, Event
from events.language.common import CommandRejected, absent
from events.language.experiments import (
    TUNING_ENDS,
    TUNING_MOVES,
    AskTrial,
    PauseTuning,
    ProposeTrial,
    ReportTrial,
    RequeueTrial,
    ResumeTuning,
    SetTrialAttribute,
    SetTrialParameter,
    SetTuningAttribute,
    StartTrial,
    StopTuning,
    TellTrial,
    TrialAdded,
    TrialAttributeSet,
    TrialCommand,
    TrialEnded,
    TrialEvent,
    TrialLaunched,
    TrialParameterSet,
    TrialProposed,
    TrialReported,
    TrialRequeued,
    TrialStarted,
    TuningAdmitted,
    TuningAttributeSet,
    TuningCommand,
    TuningCreated,
    TuningDeleted,
    TuningReleased,
    TuningStatus,
    TuningStatusSet,
)
from events.language.experiments.tuning_following import (
    AdoptTrials,
    PruneTrial,
    TrialJobCompleted,
    TrialPruned,
    TrialsAdopted,
)
from events.language.jobs import CancelJob, JobCancelled, JobCompleted, JobEnded, JobFailed, JobStarted, SubmitJob
from events.language.moves import check_move
from events.writer.decider import BY_ORIGIN, Decider, DecisionContext, Order, Question
from services.experiments.tuning import adopting, launching, trials
from services.experiments.tuning.fold import evolve
from services.experiments.tuning.state import Tuning


class Tunings(Decider[Tuning]):
    """The decider of tunings; its key is the tuning's id."""

    context = "experiments"
    aggregate = "tuning"
    commands = (
        PauseTuning,
        ResumeTuning,
        StopTuning,
        SetTuningAttribute,
        AskTrial,
        ProposeTrial,
        StartTrial,
        SetTrialParameter,
        ReportTrial,
        SetTrialAttribute,
        TellTrial,
        PruneTrial,
        RequeueTrial,
        AdoptTrials,
    )
    events = (
        TuningCreated,
        TuningStatusSet,
        TuningAttributeSet,
        TuningDeleted,
        TrialAdded,
        TrialProposed,
        TrialLaunched,
        TrialStarted,
        TrialParameterSet,
        TrialReported,
        TrialAttributeSet,
        TrialRequeued,
        TrialJobCompleted,
        TrialPruned,
        TrialEnded,
        TrialsAdopted,
    )
    routes: ClassVar = {
        **dict.fromkeys((TuningAdmitted, TuningReleased), lambda event: (event.tuning_id,)),
        **dict.fromkeys((JobStarted, JobCompleted, JobFailed, JobCancelled), BY_ORIGIN),
    }
    dispatching = frozenset({TuningCreated, TrialLaunched, TrialEnded})
    asks = ("jobs", "experiments")
    consults = ("experiments",)

    def initial(self, key: str) -> Tuning:
        return Tuning()

    def evolve(self, state: Tuning, event: Event, time: datetime) -> Tuning:
        return evolve(state, event, time)

    def may_passivate(self, state: Tuning) -> bool:
        over = (state.deleted or state.status in TUNING_ENDS) and not (state.job and state.open)
        # where the platform searches, `after_batch` may want a trial
        return over or (not state.open and not state.planned and state.ends_at is None)

    def decide(self, state: Tuning, command: Command, context: DecisionContext) -> Sequence[Event]:
        assert isinstance(command, TuningCommand)
        id = command.tuning_id
        if state.status is None or state.deleted:
            problem = f"there is no tuning {id!r}" if state.status is None else f"tuning {id} is deleted"
            raise absent("tuning_id", problem, "forgelog tune list shows them")
        match command:
            case PauseTuning():
                return _set(state, id, TuningStatus.PAUSED)
            case ResumeTuning():
                return _set(state, id, TuningStatus.RUNNING)
            case StopTuning():
                return _set(state, id, TuningStatus.STOPPED, command.reason)
            case SetTuningAttribute():
                trials.check_attributes("", {"value": command.value})
                return [TuningAttributeSet(tuning_id=id, scope=command.scope, name=command.name, value=command.value)]
            case AdoptTrials():
                wanted = command.source in state.adopting
                return [TrialsAdopted(**command.model_dump())] if wanted else ()
            case AskTrial():
                return _with_end(state, trials.added(state, command, context.now))
        assert isinstance(command, TrialCommand)
        event = trials.decided(state, command, context.now)
        if isinstance(event, TrialPruned):
            return [event, *_with_end(state, trials.end_of(state, event, context.now))]
        return () if event is None else _with_end(state, event)

    def react(self, state: Tuning, event: Event, context: DecisionContext) -> Sequence[Event]:
        match event:
            case TuningAdmitted() if state.status is None:
                return [TuningCreated(**{name: getattr(event, name) for name in TuningCreated.model_fields})]
            case TuningReleased() if state.status is not None and not state.deleted:
                return [TuningDeleted(tuning_id=event.tuning_id)]
            case JobStarted() | JobEnded():
                heard = launching.heard(state, context.subject, event, context.now)
                return [each for found in heard for each in _with_end(state, found)]
        return ()

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order | Question]:
        if isinstance(event, TuningCreated):
            return adopting.questions(event)
        if isinstance(event, TrialLaunched):
            return [Order(SubmitJob(job_id=event.job_id, spec=event.spec))]
        assert isinstance(event, TrialEnded)
        if not event.cancelled_job:
            return ()
        return [Order(CancelJob(job_id=event.cancelled_job, reason=f"its trial is {event.status}"))]

    def answered(self, event: Event, question: Question, answer: Any, at: DecisionContext) -> Sequence[Order]:
        assert isinstance(event, TuningCreated)
        return [Order(adopting.adoption(event, question.request.tuning_id, answer))]

    def refused(self, state: Tuning, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        if refusal.command_type != SubmitJob.type_name():
            return ()  # the job to be cancelled had ended
        ends = launching.refused(state, context.subject, refusal.subject_id, refusal.message, context.now)
        return [each for found in ends for each in _with_end(state, found)]

    def after_batch(self, state: Tuning, context: DecisionContext) -> Sequence[Event]:
        id = context.subject
        return [
            *trials.wanted(state, id),
            *launching.launched(state, id, context.project),
            *launching.left(state, id, context.now),
        ]

    def due(self, state: Tuning) -> datetime | None:
        return None if state.deleted or state.status in TUNING_ENDS else state.ends_at

    def wake(self, state: Tuning, context: DecisionContext) -> Sequence[Event]:
        reason = f"its {state.limits.seconds:g} seconds are over"
        return [TuningStatusSet(tuning_id=context.subject, status=TuningStatus.COMPLETED, reason=reason)]


def _set(state: Tuning, id: str, status: TuningStatus, reason: str = "") -> Sequence[Event]:
    assert state.status is not None
    if status is state.status:
        return ()
    check_move(TUNING_MOVES, state.status, status, f"tuning {id}", "tuning_id")
    return [TuningStatusSet(tuning_id=id, status=status, reason=reason)]


def _with_end(state: Tuning, event: TrialEvent) -> Sequence[Event]:
    """An event of a trial, and the tuning's end if it is complete with it."""
    if state.status in TUNING_ENDS or not (reason := trials.completion(state, event)):
        return [event]
    return [event, TuningStatusSet(tuning_id=event.tuning_id, status=TuningStatus.COMPLETED, reason=reason)]
