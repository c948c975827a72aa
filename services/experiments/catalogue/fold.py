"""How its events change a catalogue."""

from __future__ import annotations

from datetime import datetime

from events.language.base import Event
from events.language.experiments import (
    EXPERIMENT_MOVES,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    ExperimentStatusSet,
    ExperimentUpdated,
    RunEnrolled,
    TuningAdmitted,
    TuningReleased,
)
from events.language.experiments.launching import LaunchGranted, LaunchReleased
from events.language.experiments.purging import ExperimentPurged
from events.language.experiments.templates import TemplateEvent
from events.language.moves import check_move
from services.experiments.catalogue import launches, templates, tunings
from services.experiments.catalogue.state import FIELDS, LISTS, Catalogue, Experiment, changed


def evolve(state: Catalogue, event: Event, time: datetime) -> Catalogue:
    match event:
        case ExperimentCreated():
            fields = {name: getattr(event, name) for name in (*FIELDS, *LISTS)}
            state.experiments[event.experiment_id] = Experiment(**fields, tags=dict(event.tags))
            state.names[event.name] = event.experiment_id
        case ExperimentUpdated():
            _updated(state, event)
        case ExperimentStatusSet():
            experiment = state.experiments[event.experiment_id]
            check_move(EXPERIMENT_MOVES, experiment.status, event.status, f"experiment {event.experiment_id}")
            experiment.status = event.status
        case ExperimentDeleted():
            state.experiments[event.experiment_id].deleted_at = time
        case ExperimentRestored():
            state.experiments[event.experiment_id].deleted_at = None
        case ExperimentPurged():
            del state.names[state.experiments.pop(event.experiment_id).name]
            state.purged.add(event.experiment_id)
            launches.forget(state, event.experiment_id)
        case RunEnrolled():
            state.experiments[event.experiment_id].runs = event.number
            if event.launches:
                launches.evolve(state, event)
        case LaunchGranted() | LaunchReleased():
            launches.evolve(state, event)
        case TuningAdmitted() | TuningReleased():
            tunings.evolve(state, event)
        case TemplateEvent():
            templates.evolve(state, event)
    return state


def _updated(state: Catalogue, event: ExperimentUpdated) -> None:
    experiment = state.experiments[event.experiment_id]
    if event.name is not None:
        del state.names[experiment.name]
        state.names[event.name] = event.experiment_id
    for name, value in changed(experiment, event).items():
        setattr(experiment, name, value)
    for name in LISTS:
        setattr(experiment, name, getattr(event, name))
    for key, tag in event.tags.items():
        if tag is None:
            experiment.tags.pop(key, None)
        else:
            experiment.tags[key] = tag
