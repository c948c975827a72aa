"""How its events change a run."""

from __future__ import annotations

from datetime import datetime

from events.language.base import Event
from events.language.experiments import (
    ENDED,
    RUN_MOVES,
    ArtifactsLogged,
    ArtifactsRemoved,
    RunAdmitted,
    RunCreated,
    RunDataLogged,
    RunDeleted,
    RunEnded,
    RunNotAdmitted,
    RunProcessEnded,
    RunRenamed,
    RunRestored,
    RunStarted,
    RunStatus,
)
from events.language.experiments.capture import RunCaptured
from events.language.experiments.datasets import (
    InputsLogged,
)
from events.language.experiments.launching import RunLaunched, RunLaunchEnded
from events.language.experiments.logged_models import RunModelsLogged
from events.language.experiments.purging import RunPurged
from events.language.experiments.results import BestCheckpointSet
from events.language.experiments.sealing import RunPointsSealed
from events.language.moves import check_move
from services.experiments import files
from services.experiments.run import room
from services.experiments.run.state import Run, capture_digest, model_key


def evolve(state: Run, event: Event, time: datetime) -> Run:
    match event:
        case RunCreated():
            state.status, state.project, state.name = event.status, event.project, event.name
            state.process, state.launches, state.job = event.process, event.launches, event.job
            room.add_params(state, event.params)
            room.set_tags(state, event.tags)
        case RunAdmitted():
            state.admitted = True
            state.experiment_id = event.experiment_id
            room.add_params(state, event.params)
            room.add_inputs(state, event.sources.inputs)
        case RunNotAdmitted():
            state.refused = True
            _ends(state)
            _move(state, RunStatus.FAILED, event.run_id)
        case RunDataLogged():
            room.add_params(state, event.params)
            room.set_tags(state, event.tags)
        case RunRenamed():
            state.name = event.name
        case RunStarted():
            _move(state, RunStatus.RUNNING, event.run_id)
            state.reason = ""
        case BestCheckpointSet():
            state.best_checkpoint = event.path
        case RunPointsSealed():
            state.sealed = event.end_number
        case RunLaunched():
            state.process, state.launched, state.job = event.process, True, None
        case RunLaunchEnded():
            state.launched = False
        case RunEnded():
            _ends(state)
            _move(state, event.status, event.run_id)
            state.reason = event.reason
        case RunCaptured():
            state.capture = capture_digest(event.capture)
        case RunProcessEnded():
            state.process_ended = True
        case ArtifactsLogged():
            files.add(state, event.artifacts)
        case ArtifactsRemoved():
            files.take_away(state, event.paths)
        case InputsLogged():
            room.add_inputs(state, event.inputs)
        case RunModelsLogged():
            state.models.update(map(model_key, event.inputs))
            state.models.update(model_key(each.model_id, each.step) for each in event.outputs)
        case RunDeleted():
            state.deleted_at = time
        case RunRestored():
            state.deleted_at = None
        case RunPurged():
            state.purged = True
            for held in (state.params, state.tags, state.artifacts, state.folders, state.inputs, state.models):
                held.clear()  # nothing is decided by them any more
    return state


def _ends(state: Run) -> None:
    if state.status not in ENDED:
        state.ends += 1


def _move(state: Run, to: RunStatus, id: str) -> None:
    assert state.status is not None, "the decider lets nothing come before the creation"
    if to is not state.status:
        check_move(RUN_MOVES, state.status, to, f"run {id}")
    state.status = to
