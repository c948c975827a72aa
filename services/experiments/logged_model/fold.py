"""How its events change a logged model."""

from __future__ import annotations

from datetime import datetime

from events.language.base import Event
from events.language.experiments.logged_models import (
    LoggedModelAdmitted,
    LoggedModelCreated,
    LoggedModelDataLogged,
    LoggedModelDeleted,
    LoggedModelFilesLogged,
    LoggedModelFilesRemoved,
    LoggedModelFinalized,
    LoggedModelNotAdmitted,
    LoggedModelRestored,
    LoggedModelStatus,
)
from events.language.experiments.moves import LOGGED_MODEL_MOVES
from events.language.experiments.purging import LoggedModelPurged
from events.language.moves import check_move
from services.experiments import files
from services.experiments.logged_model.state import Logged


def evolve(state: Logged, event: Event, time: datetime) -> Logged:
    match event:
        case LoggedModelCreated():
            state.status = LoggedModelStatus.PENDING
            state.params, state.tags = dict(event.params), dict(event.tags)
        case LoggedModelAdmitted():
            state.placed = True
            state.experiment_id = event.experiment_id
        case LoggedModelNotAdmitted():
            state.placed = state.refused = True
            _move(state, LoggedModelStatus.FAILED, event.reason, event.model_id)
        case LoggedModelDataLogged():
            state.params.update(event.params)
            tags = {**state.tags, **event.tags}
            state.tags = {key: value for key, value in tags.items() if value is not None}
        case LoggedModelFilesLogged():
            files.add(state, event.artifacts)
        case LoggedModelFilesRemoved():
            files.take_away(state, event.paths)
        case LoggedModelFinalized():
            _move(state, event.status, event.reason, event.model_id)
        case LoggedModelDeleted():
            state.deleted_at = time
        case LoggedModelRestored():
            state.deleted_at = None
        case LoggedModelPurged():
            state.purged = True
            for held in (state.params, state.tags, state.artifacts, state.folders):
                held.clear()  # nothing is decided by them any more
    return state


def _move(state: Logged, to: LoggedModelStatus, reason: str, id: str) -> None:
    assert state.status is not None, "the decider lets nothing come before the creation"
    if to is not state.status:
        check_move(LOGGED_MODEL_MOVES, state.status, to, f"logged model {id}")
    state.status, state.reason = to, reason
