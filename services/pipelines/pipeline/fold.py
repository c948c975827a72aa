"""How its events change a pipeline."""

from __future__ import annotations

from events.language.base import Event
from events.language.moves import check_move
from events.language.pipelines.enums import PipelineStatus
from events.language.pipelines.events import (
    PipelineActivated,
    PipelineDefined,
    PipelinePaused,
    PipelineResumed,
    PipelineRetired,
)
from events.language.pipelines.moves import PIPELINE_MOVES
from services.pipelines.pipeline.state import Pipeline

_STATUS = {
    PipelineActivated: PipelineStatus.ACTIVE,
    PipelinePaused: PipelineStatus.PAUSED,
    PipelineResumed: PipelineStatus.ACTIVE,
    PipelineRetired: PipelineStatus.CANCELLED,
}


def evolve(state: Pipeline, event: Event) -> Pipeline:
    """The state after an event; it is changed in place, but for a pipeline that begins anew."""
    match event:
        case PipelineDefined():
            if state.status in (None, PipelineStatus.CANCELLED):
                state = Pipeline(PipelineStatus.DRAFT, event.name, event.project, state.version)
            state.version, state.spec, state.parent = event.pipeline_version, event.spec, event.parent
        case PipelineActivated() | PipelinePaused() | PipelineResumed() | PipelineRetired():
            _move(state, _STATUS[type(event)], event.pipeline_id)
    return state


def _move(state: Pipeline, status: PipelineStatus, id: str) -> None:
    assert state.status is not None, "the decider lets nothing come before the definition"
    check_move(PIPELINE_MOVES, state.status, status, f"pipeline {id}")
    state.status = status
