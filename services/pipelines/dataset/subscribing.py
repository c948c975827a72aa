"""Pipelines that are told of a dataset's versions. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.common import Refused
from events.language.pipelines.dataset_messages import DatasetEvent, SubscriberAdded, SubscriberRemoved
from services.pipelines.dataset.naming import defined
from services.pipelines.dataset.state import Dataset


def added(state: Dataset, dataset_id: str, pipeline_id: str, project: str) -> Sequence[DatasetEvent]:
    """A pipeline is told from now on. There need not be such a dataset yet. One of another project is not subscribed
    to: no such dataset ever gets a version."""
    if pipeline_id in state.subscribers:
        return ()
    subscribed = SubscriberAdded(dataset_id=dataset_id, pipeline_id=pipeline_id)
    if state.project:
        return [subscribed]
    try:
        return [defined(dataset_id, project), subscribed]
    except Refused:
        return ()


def removed(state: Dataset, dataset_id: str, pipeline_id: str) -> Sequence[DatasetEvent]:
    """A pipeline is told no more."""
    if pipeline_id not in state.subscribers:
        return ()
    return [SubscriberRemoved(dataset_id=dataset_id, pipeline_id=pipeline_id)]
