"""The tables of pipelines. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

from events.language.base import Message
from events.language.pipelines.dataset_messages import DatasetEvent
from events.language.pipelines.events import PipelineEvent
from events.language.pipelines.run_events import RunEnded, RunEvent, RunQueued, StageCompleted, WorkerEvent
from events.log.envelope import Recorded
from events.notices.rows import NOTICES
from events.projections.projection import Key, Projection, Rows, Table
from services.pipelines import notices
from services.pipelines.clock import rows as clock
from services.pipelines.dataset import rows as dataset
from services.pipelines.pipeline import rows as pipeline
from services.pipelines.pipeline import run_rows as runs
from services.pipelines.template import rows as template

_OF_PIPELINE = (PipelineEvent, RunQueued, RunEnded)


def _of_pipeline(event: Message) -> TypeGuard[PipelineEvent | RunQueued | RunEnded | StageCompleted]:
    """Whether it may change its pipeline's row: of stages, those that leave windows to the next batch."""
    return isinstance(event, _OF_PIPELINE) or (isinstance(event, StageCompleted) and bool(event.streams))


class PipelinesProjection(Projection):
    """Folds events.pipelines."""

    context = "pipelines"
    version = 10
    tables = (*pipeline.TABLES, *runs.TABLES, *dataset.TABLES, *clock.TABLES, *template.TABLES, NOTICES)

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        event = recorded.data
        if isinstance(event, RunEvent | WorkerEvent):
            yield from runs.touched(event)
            yield from dataset.of_stage(event)
        elif isinstance(event, DatasetEvent):
            yield from dataset.touched(event)
        if _of_pipeline(event):
            yield from pipeline.touched(event)
        yield from clock.touched(event)
        yield from template.touched(event)
        yield from notices.touched(recorded)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        event = recorded.data
        if isinstance(event, RunEvent | WorkerEvent):
            runs.put(recorded, event, rows)
            dataset.put_of_stage(recorded, event, rows)
        elif isinstance(event, DatasetEvent):
            dataset.put(recorded, event, rows)
        if _of_pipeline(event):
            pipeline.put(recorded, event, rows)
        clock.put(recorded, event, rows)
        template.put(event, recorded.meta, rows)
        notices.put(recorded, rows)


PROJECTION = PipelinesProjection()
