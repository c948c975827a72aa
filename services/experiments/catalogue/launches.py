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
    """Those for which there is room now, in each experiment that takes runs."""
    found: list[Event] = []
    for id, waiting in state.waiting.items():
        experiment = state.experiments.get(id)
        if experiment is None or experiment.deleted or experiment.status not in TAKING:
            continue  # they wait until it takes runs again
        most = experiment.launch.parallel or len(waiting) + len(experiment.launched)
        found += [
            LaunchGranted(project=project, run_id=run_id, experiment_id=id, job=experiment.launch.job)
            for run_id in list(waiting)[: max(0, most - len(experiment.launched))]
        ]
    return found


def ended(state: Catalogue, event: RunLaunchEnded) -> Sequence[Event]:
    """A run needs its room no more."""
    if event.run_id not in state.launching:
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
            del state.launching[event.run_id]
            state.experiments[event.experiment_id].launched.pop(event.run_id, None)


def forget(state: Catalogue, experiment_id: str) -> None:
    """Drop the runs of an experiment that is no more."""
    state.waiting.pop(experiment_id, None)
    for run_id in [run_id for run_id, of in state.launching.items() if of == experiment_id]:
        del state.launching[run_id]
