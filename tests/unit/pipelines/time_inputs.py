"""For `tests/unit/writer/test_any_order.py`: what concerns the time of pipelines, and what datasets tell them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from events.language.pipelines.backfill import BackfillRerun
from events.language.pipelines.dataset_messages import SubscriberNotified
from events.language.pipelines.schedule import CatchUp, Schedule
from events.language.pipelines.schedule_messages import CancelBackfill, StartBackfill
from events.language.pipelines.sla import Sla
from events.language.pipelines.triggers import DatasetRule, DatasetTrigger, Trigger

PAST = datetime(2026, 1, 1, tzinfo=UTC)
DATASETS = st.sampled_from(["orders", "stock"])

_triggers = st.builds(
    lambda datasets, rule: (Trigger(name="fresh", dataset=DatasetTrigger(datasets=tuple(datasets), rule=rule)),),
    st.lists(DATASETS, min_size=1, unique=True),
    st.sampled_from(DatasetRule),
)

fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "schedule": st.none()
        | st.builds(Schedule, every_seconds=st.sampled_from([7, 60]), catch_up=st.sampled_from(CatchUp)),
        "triggers": st.just(()) | _triggers,
        "sla": st.none() | st.just(Sla(start_within_seconds=5, finish_within_seconds=30)),
    }
)
"""Of a `PipelineSpec`."""


def inputs(ids: st.SearchStrategy[str]) -> list[st.SearchStrategy[Any]]:
    """Commands and foreign events about these pipelines."""
    return [
        st.builds(
            lambda id, length, rerun, at_a_time: StartBackfill(
                pipeline_id=id,
                range_start=PAST,
                range_end=PAST + timedelta(seconds=length),
                rerun=rerun,
                max_parallel=at_a_time,
            ),
            ids,
            st.integers(1, 300),
            st.sampled_from(BackfillRerun),
            st.integers(1, 3),
        ),
        st.builds(CancelBackfill, pipeline_id=ids, number=st.integers(1, 2)),
        st.builds(SubscriberNotified, pipeline_id=ids, dataset_id=DATASETS, dataset_version=st.integers(1, 5)),
    ]
