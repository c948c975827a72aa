"""What people are told of deployments: alerts that fire, and those that are over. Pure folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from events.language.deployments.events import DeploymentEvent
from events.language.deployments.steering import AlertFired, AlertResolved
from events.language.jobs.spec_monitoring import AlertSeverity
from events.log.envelope import Recorded
from events.notices import rows as notices
from events.notices.rows import NOTICES
from events.projections.projection import Key, Row, Rows, Table


def touched(recorded: Recorded) -> Iterable[tuple[Table, Key]]:
    """The row that an event writes."""
    if isinstance(recorded.data, AlertFired | AlertResolved):
        yield NOTICES, (recorded.meta.id,)


def put(recorded: Recorded, event: DeploymentEvent, rows: Rows, deployment: Row) -> None:
    """Write what people are told of an event. `deployment`: its row."""
    if not isinstance(event, AlertFired | AlertResolved):
        return
    settings: Any = deployment["spec"].get("alerts") or {}
    rule: Any = next((each for each in settings.get("alerts", ()) if each["name"] == event.name), {})
    if isinstance(event, AlertFired):
        rule = event.finding.alert.model_dump(mode="json")
        kind, title, summary = "alert.fired", "fires", event.summary
        value: float | None = event.finding.windows[-1]
    else:
        over = "it is no longer set" if event.value is None else f"its last window has {event.value:g}"
        kind, title, summary = "alert.resolved", "is over", f"alert {event.name} is over: {over}"
        value = event.value
    named = rule.get("channels") or ()
    notices.put(
        recorded,
        rows,
        [each for each in settings.get("channels", ()) if not named or each["name"] in named],
        project=deployment["project"],
        aggregate="deployment",
        subject=event.deployment_id,
        name=deployment["name"],
        type=kind,
        title=f"alert {event.name} {title}",
        severity=rule.get("severity") or AlertSeverity.WARNING.value,
        summary=summary,
        details={"alert": event.name, "value": value},
        command=f"forgelog why {deployment['name']}",
    )
