"""Lineage that a job outside of the platform has told. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from blake3 import blake3

from events.language.pipelines.dataset_messages import DatasetEvent, LineageRecorded, RecordLineage
from services.pipelines.dataset.state import Dataset

_TOLD = {"location", "job", "columns", "inputs", "lineage"}
"""What counts as the same lineage; the run is another one each time."""


def digest(told: LineageRecorded | RecordLineage) -> str:
    """What tells a recorded lineage from another one."""
    return blake3(told.model_dump_json(include=_TOLD).encode()).hexdigest(16)


def recorded(state: Dataset, command: RecordLineage) -> Sequence[DatasetEvent]:
    """Nothing for what was told already: a job tells the same at each of its runs."""
    if state.recorded.get(command.job) == digest(command):
        return []
    return [LineageRecorded(**{name: getattr(command, name) for name in RecordLineage.model_fields})]
