"""Events of a pipeline's triggers. The pipeline decides all of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier
from events.language.pipelines.events import PipelineEvent

DatasetVersionNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]


class DatasetVersions(Model):
    """Successive versions of a dataset."""

    dataset_id: Identifier
    first: DatasetVersionNumber
    last: DatasetVersionNumber


class DatasetSubscribed(PipelineEvent):
    """The pipeline is to be told of the dataset's versions from here on."""

    dataset_id: Identifier


class DatasetUnsubscribed(PipelineEvent):
    """The pipeline need not be told of the dataset's versions any more."""

    dataset_id: Identifier


class DatasetAdvanced(PipelineEvent):
    """A dataset that a trigger names has a new version, which is published. It waits for a run."""

    dataset_id: Identifier
    dataset_version: DatasetVersionNumber


class TriggerFired(PipelineEvent):
    """A trigger starts a run, which is queued with it. The run is about all that has waited."""

    trigger: Identifier
    run_id: Identifier
    versions: tuple[DatasetVersions, ...] = Field(default=(), max_length=64)


TRIGGER_EVENTS = (DatasetSubscribed, DatasetUnsubscribed, DatasetAdvanced, TriggerFired)
"""What a pipeline's triggers write."""
