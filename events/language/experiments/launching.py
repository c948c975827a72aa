"""Runs that the platform launches: a run that begins with the job that it is, in one command."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from events.language.common import Identifier, OptionalIdentifier, ProjectName
from events.language.experiments.commands import NewRun, Reason, RunCommand
from events.language.experiments.events import EnrolmentEvent, RunEvent
from events.language.experiments.hyperparameters import MAX_ENTRIES, ParamKey, ParamValue
from events.language.experiments.models import Process, Tags
from events.language.jobs.spec import JobSpec


class LaunchRun(NewRun):
    """Begin a run, and submit the job that it is as soon as its experiment has room for it. An empty `run_id` is
    assigned. Its experiment may refuse it: then it has failed."""

    params: dict[ParamKey, ParamValue] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    """Beside the experiment's, before which they count. The job is told all of them."""
    tags: Tags = Field(default_factory=dict)
    job: JobSpec | None = None
    """What it runs; None: what its experiment says."""


class StopRun(RunCommand):
    """Cancel the job that a run is a process of. A run that waits to be launched ends at once."""

    reason: Reason = ""


class LaunchGranted(EnrolmentEvent):
    """Its experiment has room for it: it may be launched."""

    begins: ClassVar[bool] = False

    experiment_id: Identifier
    job: JobSpec | None = None
    """What the experiment's runs run, as it is now."""


class LaunchReleased(EnrolmentEvent):
    """Its experiment has its room back."""

    begins: ClassVar[bool] = False

    experiment_id: Identifier


class RunLaunched(RunEvent):
    """The job is ordered that it is a process of."""

    process: Process
    spec: JobSpec


class RunStopRequested(RunEvent):
    """Its job is to be cancelled."""

    job_id: Identifier
    reason: str = ""


class RunLaunchEnded(RunEvent):
    """It needs its room no more: its process has ended, or there will be none."""

    project: ProjectName
    experiment_id: Identifier
    """Whose room it was."""
    job_id: OptionalIdentifier = ""
    """Of a job that was ordered and refused; empty otherwise."""
