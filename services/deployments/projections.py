"""The tables of deployments. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable

from events.language.deployments.events import DeploymentEvent
from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Rows, Table
from services.deployments import reasons
from services.deployments import rows as folds


class DeploymentsProjection(Projection):
    """Folds events.deployments."""

    context = "deployments"
    version = 5
    tables = (*folds.TABLES, reasons.REASONS)

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        if isinstance(recorded.data, DeploymentEvent):
            yield from folds.touched(recorded.data)
            yield from reasons.touched(recorded.data)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        if isinstance(recorded.data, DeploymentEvent):
            folds.put(recorded, recorded.data, rows)
            reasons.put(recorded, recorded.data, rows)


PROJECTION = DeploymentsProjection()
