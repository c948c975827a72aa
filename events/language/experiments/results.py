"""What comes of a run, beside its metrics: which of its files is the best checkpoint."""

from __future__ import annotations

from events.language.experiments.commands import RunCommand
from events.language.experiments.events import RunEvent
from events.language.file_paths import FilePath


class SetBestCheckpoint(RunCommand):
    """Say which file or folder of the run is the best checkpoint. Log it first."""

    path: FilePath


class BestCheckpointSet(RunEvent):
    """This is its best checkpoint from here on."""

    path: FilePath
