"""The tables of deployments. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable

from events.language.deployments.events import DeploymentEvent
from events.log.envelope import Recorded
from events.notices.rows import NOTICES
from events.projections.projection import Key, Projection, Rows, Table
from services.deployments import notices, reasons
from services.deployments import rows as folds


class DeploymentsProjection(Projection):
    """Folds events.deployments."""

    context = "deployments"
    version = 8
    tables = (*folds.TABLES, reasons.REASONS, NOTICES)

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        if isinstance(recorded.data, DeploymentEvent):
            yield from folds.touched(recorded.data)
            yield from reasons.touched(recorded.data)
            yield from notices.touched(recorded)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        if isinstance(recorded.data, DeploymentEvent):
            folds.put(recorded, recorded.data, rows)
            reasons.put(recorded, recorded.data, rows)
            deployment = rows.get(folds.DEPLOYMENTS, (recorded.data.deployment_id,))
            assert deployment is not None, "the decider lets nothing come before the creation"
            notices.put(recorded, recorded.data, rows, deployment)


PROJECTION = DeploymentsProjection()
