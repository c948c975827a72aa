"""How its events change a run."""

from __future__ import annotations

from events.language.base import Event
from events.language.experiments import (
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
from events.language.moves import check_move
from services.experiments.run.state import Run, capture_digest, folders_of, input_key


def evolve(state: Run, event: Event) -> Run:
    match event:
        case RunCreated():
            state.status, state.project, state.name = event.status, event.project, event.name
            state.process, state.params = event.process, dict(event.params)
        case RunAdmitted():
            state.admitted = True
            state.params.update(event.params)
        case RunNotAdmitted():
            state.refused = True
            _move(state, RunStatus.FAILED, event.run_id)
        case RunDataLogged():
            state.params.update(event.params)
        case RunRenamed():
            state.name = event.name
        case RunStarted():
            _move(state, RunStatus.RUNNING, event.run_id)
            state.reason = ""
        case RunEnded():
            _move(state, event.status, event.run_id)
            state.reason = event.reason
        case RunCaptured():
            state.capture = capture_digest(event.capture)
        case RunProcessEnded():
            state.process_ended = True
        case ArtifactsLogged():
            for each in event.artifacts:
                if each.path not in state.artifacts:
                    _count(state, each.path, 1)
                state.artifacts[each.path] = each.file.digest
        case ArtifactsRemoved():
            for path in event.paths:
                del state.artifacts[path]
                _count(state, path, -1)
        case InputsLogged():
            state.inputs.update(map(input_key, event.inputs))
        case RunDeleted() | RunRestored():
            state.deleted = isinstance(event, RunDeleted)
    return state


def _count(state: Run, path: str, by: int) -> None:
    """Count a file in the folders that it is in."""
    for folder in folders_of(path):
        if count := state.folders.get(folder, 0) + by:
            state.folders[folder] = count
        else:
            del state.folders[folder]


def _move(state: Run, to: RunStatus, id: str) -> None:
    assert state.status is not None, "the decider lets nothing come before the creation"
    if to is not state.status:
        check_move(RUN_MOVES, state.status, to, f"run {id}")
    state.status = to
