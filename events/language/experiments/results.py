"""What comes of a run, beside its metrics: which of its files is the best checkpoint."""

from __future__ import annotations

from events.language.experiments.commands import RunCommand
from events.language.experiments.events import RunEvent
from events.language.file_paths import OptionalFilePath


class SetBestCheckpoint(RunCommand):
    """Say which file or folder of the run is the best checkpoint. Log it first. Without a path none is."""

    path: OptionalFilePath = ""


class BestCheckpointSet(RunEvent):
    """This is its best checkpoint from here on; without a path none is. Its removal sets it, too."""

    path: OptionalFilePath = ""
