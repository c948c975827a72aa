"""Purging: some time after their deletion, experiments, runs and logged models give up what they hold: points, files.

Their events stay, and so do their rows. They can't be restored any more, and an experiment's name is free.
"""

from __future__ import annotations

from events.language.common import OptionalIdentifier, Timestamp
from events.language.experiments.commands import ExperimentCommand, RunCommand
from events.language.experiments.events import CatalogueEvent, RunEvent
from events.language.experiments.logged_models import LoggedModelCommand, LoggedModelEvent


class PurgeExperiment(ExperimentCommand):
    """Give up a deleted experiment with its runs and logged models: their points and files go, and its name is free.
    Nothing of it can be restored."""

    deleted_before: Timestamp | None = None
    """Only if it was deleted before this time: not if it was restored and deleted again since. Left out: whenever."""


class PurgeRun(RunCommand):
    """Give up the points and files of a deleted run. It can't be restored."""

    deleted_before: Timestamp | None = None
    """As of an experiment."""
    experiment_id: OptionalIdentifier = ""
    """Its experiment, if that is purged: the run then goes too, deleted or not. The platform's own worker says it."""


class PurgeLoggedModel(LoggedModelCommand):
    """Give up the files of a deleted logged model. It can't be restored."""

    deleted_before: Timestamp | None = None
    """As of an experiment."""
    experiment_id: OptionalIdentifier = ""
    """As of a run."""


class ExperimentPurged(CatalogueEvent):
    """It can't be restored from here on, and its name is free. Its runs and logged models are purged next."""


class RunPurged(RunEvent):
    """Its points and files count no more, and it can't be restored."""


class LoggedModelPurged(LoggedModelEvent):
    """Its files count no more, and it can't be restored."""
