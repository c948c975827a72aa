"""The table of what people are to be told, and how events fill it. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from events.language.base import Model
from events.language.common import Identifier, Timestamp
from events.language.deployments.alerts import AlertChannel
from events.language.deployments.events import DeploymentEvent
from events.language.deployments.steering import AlertFired, AlertResolved
from events.language.jobs.spec_monitoring import AlertSeverity
from events.log.envelope import Recorded
from events.projections.projection import Key, Row, Rows, Table
from events.projections.row_models import table_of


class Notice(Model):
    """An alert that fired, or is over."""

    notice_id: Identifier
    """The event's."""
    deployment_id: Identifier
    project: str
    deployment: str
    """Its name."""
    alert: str
    severity: AlertSeverity = AlertSeverity.WARNING
    fired: bool
    """False: it is over."""
    summary: str
    value: float | None = None
    channels: tuple[AlertChannel, ...] = ()
    """As they were set then."""
    happened_at: Timestamp


NOTICES = table_of(Notice, "alert_notices", key=("notice_id",), indexes=("happened_at",))


def touched(recorded: Recorded) -> Iterable[tuple[Table, Key]]:
    """The row that an event writes."""
    if isinstance(recorded.data, AlertFired | AlertResolved):
        yield NOTICES, (recorded.meta.id,)


def put(recorded: Recorded, event: DeploymentEvent, rows: Rows, deployment: Row) -> None:
    """Write what an event says. `deployment`: its row."""
    if not isinstance(event, AlertFired | AlertResolved):
        return
    settings: Any = deployment["spec"].get("alerts") or {}
    rule: Any = next((each for each in settings.get("alerts", ()) if each["name"] == event.name), {})
    if isinstance(event, AlertFired):
        rule = event.finding.alert.model_dump(mode="json")
        said = {"fired": True, "summary": event.summary, "value": event.finding.windows[-1]}
    else:
        over = "it is no longer set" if event.value is None else f"its last window has {event.value:g}"
        said = {"fired": False, "summary": f"alert {event.name} is over: {over}", "value": event.value}
    named = rule.get("channels") or ()
    channels = [each for each in settings.get("channels", ()) if not named or each["name"] in named]
    row = NOTICES.first(
        notice_id=recorded.meta.id,
        deployment_id=event.deployment_id,
        project=deployment["project"],
        deployment=deployment["name"],
        alert=event.name,
        severity=rule.get("severity") or AlertSeverity.WARNING.value,
        channels=channels,
        happened_at=recorded.meta.time,
        **said,
    )
    rows.put(NOTICES, row)
