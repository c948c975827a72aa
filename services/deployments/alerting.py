"""Alerts of deployments: their windows, and what follows when one fires. Pure but for the volatile windows.

AlertFired ─► DeploymentScaled, RolloutRolledBack as the alert says; AlertResolved when it is over
"""

from __future__ import annotations

from events.language.deployments.alerts import AlertType, DeploymentAlert
from events.language.deployments.enums import RollbackCause
from events.language.deployments.events import DeploymentEvent, DeploymentScaled
from events.language.deployments.scaling import MAX_REPLICAS, ScalingMetric
from events.language.deployments.steering import AlertFired, AlertResolved
from services.deployments import explaining, rollout
from services.deployments.alerts import drift
from services.deployments.alerts.evaluating import AlertState, Turn, after_window, finding
from services.deployments.loads import AlertWatch
from services.deployments.scaling.deciding import highest
from services.deployments.state import Deployment
from services.deployments.watching import Totals


def alarmed(state: Deployment, id: str, now: float, rolled_back: bool) -> list[DeploymentEvent]:
    """What windows that are over lead to. `rolled_back`: the rollout under way ends already."""
    assert state.spec is not None
    rules = {alert.name: alert for alert in state.spec.alerts.alerts if alert.enabled}
    events: list[DeploymentEvent] = [
        AlertResolved(deployment_id=id, name=name) for name in state.memory.firing if name not in rules
    ]
    watches = {name: watch for name, watch in state.load.alerts.items() if watch.alert == rules.get(name)}
    state.load.alerts = watches
    wanted = state.wanted
    for name, alert in rules.items():
        watch = watches.get(name)
        if watch is None:
            watch = watches[name] = _opened(state, alert, now)
        _sample(state, watch)
        if now < watch.began + alert.window_seconds:
            continue
        value, column = _value(state, watch)
        was = AlertState(name in state.memory.firing, watch.breaches)
        after, turn = after_window(alert, was, value)
        watches[name] = _opened(state, alert, now, after.breaches)
        if turn is Turn.RESOLVED:
            events.append(AlertResolved(deployment_id=id, name=name, value=value))
        elif turn is Turn.FIRED:
            found = finding(alert, after, column)
            summary = explaining.alert(found)
            events.append(AlertFired(deployment_id=id, name=name, finding=found, summary=summary))
            more = min(wanted + alert.scale_by, _most(state))
            if more > wanted:
                events.append(DeploymentScaled(deployment_id=id, replicas=more, before=wanted, reason=summary))
                wanted = more
            if alert.rollback and state.rollout is not None and not rolled_back:
                events.append(rollout.rolled_back(state, id, RollbackCause.ALERT, summary))
                rolled_back = True
    return events


def scales(event: DeploymentEvent) -> bool:
    return isinstance(event, DeploymentScaled)


def _most(state: Deployment) -> int:
    assert state.spec is not None
    return MAX_REPLICAS if state.spec.scaling is None else highest(state.spec.scaling)


def _opened(state: Deployment, alert: DeploymentAlert, now: float, breaches: tuple[float, ...] = ()) -> AlertWatch:
    return AlertWatch(alert, now, Totals.sum(state.load.watch.totals.values()), breaches=breaches)


def _sample(state: Deployment, watch: AlertWatch) -> None:
    """What is a mean over the window is sampled at each look."""
    match watch.alert.type:
        case AlertType.AVAILABILITY:
            value: float | None = 100.0 * min(1.0, state.ready() / state.wanted) if state.wanted else 100.0
        case AlertType.RESOURCE:
            assert watch.alert.resource is not None
            value = state.load.watch.mean_usage(ScalingMetric(watch.alert.resource))
        case _:
            return
    if value is not None:
        watch.sum += value
        watch.samples += 1


def _value(state: Deployment, watch: AlertWatch) -> tuple[float | None, str]:
    """The window's value, and of drift the column that has it; None if there is none."""
    if watch.alert.type is AlertType.DRIFT:
        return _drift(state, watch) or (None, "")
    return _load_value(state, watch), ""


def _drift(state: Deployment, watch: AlertWatch) -> tuple[float, str] | None:
    """The highest index of a revision's column."""
    of_job = {replica.job_id: replica.revision for replica in state.replicas.values()}
    asked: dict[int, dict[int, list[int]]] = {}
    for job, columns in watch.inputs.items():
        drift.add(asked.setdefault(of_job.get(job, 0), {}), columns.items())
    return drift.highest_of(
        asked, {number: of.model.training for number, of in state.revisions.items() if of.model is not None}
    )


def _load_value(state: Deployment, watch: AlertWatch) -> float | None:
    alert = watch.alert
    if alert.type in (AlertType.AVAILABILITY, AlertType.RESOURCE):
        return round(watch.sum / watch.samples, 6) if watch.samples else None
    totals = Totals.sum(state.load.watch.totals.values())
    if alert.type is AlertType.ERROR_RATE:
        came = totals.arrivals - watch.totals.arrivals
        failed = totals.failures + totals.shed - watch.totals.failures - watch.totals.shed
        return round(100 * failed / came, 6) if came > 0 else None
    if alert.type is AlertType.LATENCY:
        latency = totals.sketch().since(watch.totals.sketch()).quantile((alert.percentile or 95.0) / 100)
        return None if latency is None else round(latency, 6)
    return None
