"""A pipeline's life. Pure.

DefinePipeline ─► PipelineDefined, a version; ActivatePipeline ─► PipelineActivated
PausePipeline ─► PipelinePaused; ResumePipeline ─► PipelineResumed; RetirePipeline ─► PipelineRetired
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from events.language.base import Command, Event
from events.language.common import ErrorCode, FieldError, Refused, absent, refused
from events.language.moves import check_move
from events.language.pipelines.checks import spec_errors
from events.language.pipelines.commands import (
    ActivatePipeline,
    DefinePipeline,
    OfPipeline,
    PausePipeline,
    ResumePipeline,
    RetirePipeline,
)
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.events import (
    PipelineActivated,
    PipelineDefined,
    PipelinePaused,
    PipelineResumed,
    PipelineRetired,
)
from events.language.pipelines.moves import PIPELINE_MOVES
from events.log.ids import named_id
from events.writer.decider import Decider, DecisionContext
from services.pipelines.pipeline.fold import evolve
from services.pipelines.pipeline.state import Pipeline
from services.pipelines.refusals import forbidden

_SHOWN = "forgelog pipeline ls shows them"


class Pipelines(Decider[Pipeline]):
    """The decider of pipelines; its key is the pipeline's id."""

    context = "pipelines"
    aggregate = "pipeline"
    commands = (DefinePipeline, ActivatePipeline, PausePipeline, ResumePipeline, RetirePipeline)
    events = (PipelineDefined, PipelineActivated, PipelinePaused, PipelineResumed, PipelineRetired)

    def initial(self, key: str) -> Pipeline:
        return Pipeline()

    def evolve(self, state: Pipeline, event: Event, time: datetime) -> Pipeline:
        return evolve(state, event)

    def may_passivate(self, state: Pipeline) -> bool:
        return True

    def decide(self, state: Pipeline, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, DefinePipeline):
            return _defined(state, command, context)
        assert isinstance(command, OfPipeline)
        id = command.pipeline_id
        if state.status in (None, PipelineStatus.CANCELLED):
            problem = f"there is no pipeline {id!r}" if state.status is None else f"pipeline {id} is retired"
            raise absent("pipeline_id", problem, _SHOWN)
        match command:
            case ActivatePipeline():
                return _activated(state, id)
            case PausePipeline():
                return _paused(state, command)
            case ResumePipeline():
                return _resumed(state, id)
        assert isinstance(command, RetirePipeline)
        return [PipelineRetired(pipeline_id=id, reason=command.reason)]


def _defined(state: Pipeline, command: DefinePipeline, context: DecisionContext) -> Sequence[Event]:
    id, name = command.pipeline_id, command.name
    if id != named_id(name, context.project):
        problem = f"is {id!r}, and pipeline {name} has the id {named_id(name, context.project)}"
        raise refused(ErrorCode.INVALID_ARGUMENT, "pipeline_id", problem, "leave it out")
    if errors := spec_errors(command.spec):
        raise Refused(ErrorCode.INVALID_ARGUMENT, _summary(errors), errors)
    if state.status not in (None, PipelineStatus.CANCELLED) and state.spec == command.spec:
        return []
    return [
        PipelineDefined(
            pipeline_id=id,
            project=context.project,
            name=name,
            pipeline_version=state.version + 1,
            spec=command.spec,
            note=command.note,
            parent=command.parent or state.parent,
        )
    ]


def _summary(errors: Sequence[FieldError]) -> str:
    first = f"{errors[0].field} {errors[0].problem}"
    return first if len(errors) == 1 else f"the pipeline has {len(errors)} errors; the first: {first}"


def _activated(state: Pipeline, id: str) -> Sequence[Event]:
    if state.status is PipelineStatus.ACTIVE:
        return []
    if state.status is PipelineStatus.PAUSED:
        raise forbidden("pipeline_id", f"pipeline {id} is paused", "resume it")
    return [PipelineActivated(pipeline_id=id)]


def _paused(state: Pipeline, command: PausePipeline) -> Sequence[Event]:
    if state.status is PipelineStatus.PAUSED:
        return []
    assert state.status is not None
    id = command.pipeline_id
    check_move(PIPELINE_MOVES, state.status, PipelineStatus.PAUSED, f"pipeline {id}", "pipeline_id")
    return [PipelinePaused(pipeline_id=id, reason=command.reason)]


def _resumed(state: Pipeline, id: str) -> Sequence[Event]:
    if state.status is PipelineStatus.ACTIVE:
        return []
    if state.status is PipelineStatus.DRAFT:
        raise forbidden("pipeline_id", f"pipeline {id} is a draft and not paused", "activate it")
    return [PipelineResumed(pipeline_id=id)]
