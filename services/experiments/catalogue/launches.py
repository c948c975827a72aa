"""Which runs of an experiment may be launched: so many at a time, in the order in which it took them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.experiments import RunCreated, RunEnrolled
from events.language.experiments.launching import LaunchGranted, LaunchReleased, RunLaunchEnded
from services.experiments.catalogue.state import TAKING, Catalogue, Experiment


def problem(run: RunCreated, id: str, experiment: Experiment) -> str:
    """Why a run can't be launched in an experiment; empty if it can."""
    if not run.launches or run.job is not None or experiment.launch.job is not None:
        return ""
    return f"experiment {id} does not say what its runs run; give the run a job, or update the experiment with one"


def granted(state: Catalogue, project: str) -> Sequence[Event]:
    """The next for which there is room now, in an experiment that takes runs. One at a time: each has a job, which may
    be large, and an append holds so much."""
    for id, waiting in state.waiting.items():
        experiment = state.experiments.get(id)
        if experiment is None or experiment.deleted or experiment.status not in TAKING:
            continue  # they wait until it takes runs again
        if not experiment.launch.parallel or len(experiment.launched) < experiment.launch.parallel:
            run_id = next(iter(waiting))
            return [LaunchGranted(project=project, run_id=run_id, experiment_id=id, job=experiment.launch.job)]
    return ()


def ended(state: Catalogue, event: RunLaunchEnded) -> Sequence[Event]:
    """A run needs its room no more."""
    experiment = state.experiments.get(event.experiment_id)
    if experiment is None or event.run_id not in experiment.launched:
        return ()
    return [LaunchReleased(project=event.project, run_id=event.run_id, experiment_id=event.experiment_id)]


def evolve(state: Catalogue, event: RunEnrolled | LaunchGranted | LaunchReleased) -> None:
    match event:
        case RunEnrolled():
            state.launching[event.run_id] = event.experiment_id
            state.waiting.setdefault(event.experiment_id, {})[event.run_id] = True
        case LaunchGranted():
            waiting = state.waiting[event.experiment_id]
            del waiting[event.run_id]
            if not waiting:
                del state.waiting[event.experiment_id]
            state.experiments[event.experiment_id].launched[event.run_id] = True
        case LaunchReleased():
            state.launching.pop(event.run_id, None)
            del state.experiments[event.experiment_id].launched[event.run_id]


def forget(state: Catalogue, experiment_id: str) -> None:
    """Drop the runs of an experiment that is no more."""
    state.waiting.pop(experiment_id, None)
    for run_id in [run_id for run_id, of in state.launching.items() if of == experiment_id]:
        del state.launching[run_id]
