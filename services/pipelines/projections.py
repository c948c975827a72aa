"""The tables of pipelines. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable

from events.language.pipelines.dataset_messages import DatasetEvent
from events.language.pipelines.events import PipelineEvent
from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Rows, Table
from services.pipelines.dataset import rows as dataset
from services.pipelines.pipeline import rows as pipeline


class PipelinesProjection(Projection):
    """Folds events.pipelines."""

    context = "pipelines"
    version = 1
    tables = (*pipeline.TABLES, *dataset.TABLES)

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        if isinstance(recorded.data, PipelineEvent):
            yield from pipeline.touched(recorded.data)
        elif isinstance(recorded.data, DatasetEvent):
            yield from dataset.touched(recorded.data)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        if isinstance(recorded.data, PipelineEvent):
            pipeline.put(recorded, recorded.data, rows)
        elif isinstance(recorded.data, DatasetEvent):
            dataset.put(recorded, recorded.data, rows)


PROJECTION = PipelinesProjection()
