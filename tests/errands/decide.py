"""An errand orders its job, and believes what is said of that job alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from events.language.base import Command, Event
from events.language.common import CommandRejected, ErrorCode, Refused
from events.language.jobs import JobCancelled, JobCompleted, JobFailed, JobStarted, JobSubmitted, SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log.ids import child_id
from events.writer.decider import BY_ORIGIN, Decider, DecisionContext, Order, Question
from forgelog_pb.jobs.v1.queries_pb2 import GetJobRequest
from forgelog_pb.jobs.v1.queries_pb2_grpc import JobQueriesStub

from .language import DropErrand, ErrandAccepted, ErrandAsked, ErrandEnded, ErrandStarted, Outcome, RunErrand


@dataclass(slots=True)
class Errand:
    job_id: str = ""
    accepted: bool = False
    started: bool = False
    ended: bool = False


class Errands(Decider[Errand]):
    context = "errands"
    aggregate = "errand"
    commands = (RunErrand, DropErrand)
    events = (ErrandAsked, ErrandAccepted, ErrandStarted, ErrandEnded)
    routes: ClassVar = dict.fromkeys((JobSubmitted, JobStarted, JobCompleted, JobFailed, JobCancelled), BY_ORIGIN)
    dispatching = frozenset({ErrandAsked})
    asks = ("jobs", "errands")
    consults = ("jobs",)

    def initial(self, key: str) -> Errand:
        return Errand()

    def evolve(self, state: Errand, event: Event, time: datetime) -> Errand:
        if isinstance(event, ErrandAsked):
            state.job_id = event.job_id
        state.accepted = state.accepted or isinstance(event, ErrandAccepted)
        state.started = state.started or isinstance(event, ErrandStarted)
        state.ended = state.ended or isinstance(event, ErrandEnded)
        return state

    def decide(self, state: Errand, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, DropErrand):
            if state.ended or state.accepted:
                return ()
            return [ErrandEnded(errand_id=command.errand_id, outcome=Outcome.REFUSED, reason=command.reason)]
        assert isinstance(command, RunErrand)
        if state.job_id:
            raise Refused(ErrorCode.ALREADY_EXISTS, f"errand {command.errand_id} exists")
        job = child_id(command.errand_id, "job", context.project)
        asked = {"command": command.command, "user": command.user, "like": command.like}
        return [ErrandAsked(errand_id=command.errand_id, job_id=job, **asked)]

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order | Question]:
        assert isinstance(event, ErrandAsked)
        if event.like:
            return [Question("jobs", JobQueriesStub, "GetJob", GetJobRequest(job_id=event.like))]
        return self._orders(event, event.command)

    def answered(self, event: Event, question: Question, answer: Any, at: DecisionContext) -> Sequence[Order]:
        assert isinstance(event, ErrandAsked)
        if isinstance(answer, Refused):
            return [Order(DropErrand(errand_id=event.errand_id, reason=answer.message))]
        return self._orders(event, answer.spec.command)

    @staticmethod
    def _orders(event: ErrandAsked, command: str) -> list[Order]:
        spec = JobSpec(metadata=JobMetadata(name=event.errand_id), command=command)
        if event.user:
            environment = spec.environment.model_copy(update={"user": event.user})
            spec = spec.model_copy(update={"environment": environment})
        return [Order(SubmitJob(job_id=event.job_id, spec=spec))]

    def react(self, state: Errand, event: Event, context: DecisionContext) -> Sequence[Event]:
        if event.subject() != state.job_id or state.ended:
            return ()  # forged, or told before
        if isinstance(event, JobSubmitted):
            return () if state.accepted else [ErrandAccepted(errand_id=context.subject)]
        if isinstance(event, JobStarted):
            return () if state.started else [ErrandStarted(errand_id=context.subject, node_id=event.node_id)]
        outcome = Outcome.DONE if isinstance(event, JobCompleted) else Outcome.FAILED
        return [ErrandEnded(errand_id=context.subject, outcome=outcome)]

    def refused(self, state: Errand, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        if refusal.subject_id != state.job_id or state.ended:
            return ()
        return [ErrandEnded(errand_id=context.subject, outcome=Outcome.REFUSED, reason=refusal.message)]
